// Where the daemon is: what the command line says, else the environment, else the places where hatchd puts its socket.
// A socket that was found and not named must belong to root or to the caller, so that nobody can plant one.
#pragma once

#include <string>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::client {

// What the options and the environment say, and where to look; a plain value, so that tests can make their own world.
struct Places {
  std::string socket, url, token_file;              // options
  std::string env_socket, env_url, env_token_file;  // HATCHD_SOCKET, HATCHD_URL, HATCHD_TOKEN_FILE
  std::string system_socket = "/run/hatchd/hatchd.sock";
  std::vector<std::string> runtime_directories;  // $XDG_RUNTIME_DIR, and where zero configuration puts its folder
};

// The options come empty; the rest is read from the environment.
Places places_of_environment();

struct Endpoint {
  std::string socket;  // path of a Unix socket, or empty
  std::string url;     // "http://127.0.0.1:4282" without a path; "http://localhost" for a socket
  std::string token;   // "hatchd_…", or empty

  std::string name() const { return socket.empty() ? url : socket; }
};

// Problem codes are the client's own and never cross HTTP: `usage` and `cannot-connect`.
Result<Endpoint> find_endpoint(const Places& places);

// The token of a header file as curl's -H @FILE reads it: a line "Authorization: Bearer TOKEN". Refused when others
// than its owner and group can read it.
Result<std::string> read_token_file(const std::string& path);

}  // namespace hatchd::client
