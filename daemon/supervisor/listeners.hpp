// Binding: the supervisor makes the sockets, the front only accepts on them, so a restarted front loses no connection
// that waits, and the front needs no right to bind.
#pragma once

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/problem.hpp"
#include "config/config.hpp"

namespace hatchd::supervisor {

struct Listener {
  UniqueFd fd;
  std::string unix_path;  // either this …
  std::string tcp;        // … or "ADDRESS:PORT" with the real port
  bool given = false;     // bound by systemd, whose file the socket is
};

// A stale socket file is replaced; one that still answers is a refusal: another hatchd serves there.
Result<Listener> bind_unix(const std::string& path, unsigned mode, const std::string& group);
// "127.0.0.1:4282", "[::1]:4282"; port 0 takes a free one.
Result<Listener> bind_tcp(const std::string& address);
// All of the configuration, in its order. `given`: sockets that systemd bound; one with the address of a listener takes
// its place, with the mode and group that the socket unit gave it. One that fits no listener is closed, with a warning.
Result<std::vector<Listener>> bind_all(const std::vector<config::Listen>& listen, std::vector<UniqueFd> given = {});
// Removes the socket files that are ours.
void unbind(const std::vector<Listener>& listeners);

}  // namespace hatchd::supervisor
