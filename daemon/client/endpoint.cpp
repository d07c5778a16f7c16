#include "client/endpoint.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/fd.hpp"

namespace hatchd::client {
namespace {

constexpr std::size_t max_token_file = 16 * 1024;
constexpr std::size_t max_folders = 256;  // of zero configuration, below one directory

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

enum class Seen { absent, present, dead };

// Is there a socket of root or of the caller? `dead`: its daemon was killed and left it behind. What cannot be looked
// at counts as present, so that connecting says why. In a folder that only root makes, such as /run/hatchd, it may be
// anybody's: the service has a user of its own.
Seen look(const std::string& path, bool anybodys = false) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno == EACCES ? Seen::present : Seen::absent;
  if (!S_ISSOCK(status.st_mode) || (!anybodys && status.st_uid != 0 && status.st_uid != ::geteuid()))
    return Seen::absent;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Seen::absent;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const UniqueFd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const bool refused =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED;
  return refused ? Seen::dead : Seen::present;
}

// The sockets of `hatchd --pid N`: DIRECTORY/hatchd-PID…/hatchd.sock.
std::vector<std::string> zero_configuration(const std::string& directory) {
  std::vector<std::string> found;
  DIR* open = ::opendir(directory.c_str());
  if (!open) return found;
  const Defer close{[open] { ::closedir(open); }};
  while (const dirent* entry = ::readdir(open)) {
    if (std::strncmp(entry->d_name, "hatchd-", 7) != 0) continue;
    std::string socket = directory + "/" + entry->d_name + "/hatchd.sock";
    if (look(socket) != Seen::present) continue;
    found.push_back(std::move(socket));
    if (found.size() == max_folders) break;
  }
  return found;
}

bool loopback(std::string_view url) {
  const std::string_view rest = url.substr(url.find("://") + 3);
  const std::string_view host =
      rest.starts_with('[') ? rest.substr(0, rest.find(']') + 1) : rest.substr(0, rest.find(':'));
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos);
}

Result<Endpoint> named(const std::string& socket, const std::string& url) {
  if (!socket.empty()) return Endpoint{socket, "http://localhost", {}};
  const bool scheme = url.starts_with("http://") || url.starts_with("https://");
  std::string base = url;
  while (base.ends_with('/')) base.pop_back();
  const bool plain =
      std::none_of(base.begin(), base.end(), [](unsigned char c) { return c <= ' ' || c == 127 || c == '@'; });
  if (!scheme || !plain || base.find('/', base.find("://") + 3) != std::string::npos)
    return refuse("usage", "\"" + url + "\" is not the address of a daemon", "write it as http://127.0.0.1:4282");
  return Endpoint{{}, base, {}};
}

Result<Endpoint> discovered(const Places& places) {
  std::vector<std::string> tried{places.system_socket};
  std::vector<std::string> dead;
  const auto serves = [&](const std::string& path, bool anybodys = false) {
    const Seen seen = look(path, anybodys);
    if (seen == Seen::dead) dead.push_back(path);
    return seen == Seen::present;
  };
  if (serves(places.system_socket, true)) return named(places.system_socket, {});
  for (const std::string& directory : places.runtime_directories) {
    const std::string own = directory + "/hatchd/hatchd.sock";
    tried.push_back(own);
    tried.push_back(directory + "/hatchd-*/hatchd.sock");
    if (serves(own)) return named(own, {});
  }
  std::vector<std::string> several;
  for (const std::string& directory : places.runtime_directories)
    for (std::string& socket : zero_configuration(directory)) several.push_back(std::move(socket));
  std::sort(several.begin(), several.end());  // both directories may be the same one
  several.erase(std::unique(several.begin(), several.end()), several.end());
  if (several.size() == 1) return named(several.front(), {});
  if (several.size() > 1) {
    Problem problem{"usage", "several daemons run here; say which one"};
    for (const std::string& socket : several) problem.candidates.push_back("--socket " + socket);
    return tl::unexpected(std::move(problem));
  }
  Problem problem{"cannot-connect", dead.empty()
                                        ? "there is no socket of hatchd"
                                        : "the socket " + dead.front() + " is there, but nobody listens on it"};
  problem.remedy =
      "start it (systemctl start hatchd, or hatchd --pid N), or say where it is: --socket PATH, or --url "
      "http://127.0.0.1:4282 --token-file FILE";
  problem.candidates = std::move(tried);
  return tl::unexpected(std::move(problem));
}

}  // namespace

Places places_of_environment() {
  Places places;
  places.env_socket = variable("HATCHD_SOCKET");
  places.env_url = variable("HATCHD_URL");
  places.env_token_file = variable("HATCHD_TOKEN_FILE");
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  places.runtime_directories.push_back(runtime.empty() ? "/run/user/" + std::to_string(::getuid()) : runtime);
  // Where `hatchd --pid` makes its folder when there is no runtime directory, as under sudo.
  const std::string temporary = variable("TMPDIR");
  places.runtime_directories.push_back(temporary.empty() ? "/tmp" : temporary);
  return places;
}

Result<std::string> read_token_file(const std::string& path) {
  const std::string remedy = "hatchd token new NAME --role ROLE --install writes one; chmod 600 " + path;
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) return refuse("usage", "token file " + path + ": " + errno_text(errno));
  if (!S_ISREG(status.st_mode)) return refuse("usage", "token file " + path + " is not a regular file");
  if (status.st_mode & (S_IROTH | S_IWOTH | S_IWGRP))
    return refuse("usage", "others can read or write the token file " + path, "chmod 600 " + path);
  const Result<std::string> text = read_all(fd.get(), max_token_file);
  if (!text) return refuse("usage", "token file " + path + ": " + text.error().detail);

  constexpr std::string_view start = "authorization: bearer ";
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    std::string_view line = std::string_view(*text).substr(at, end - at);
    at = end + 1;
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    if (line.size() <= start.size() || ::strncasecmp(line.data(), start.data(), start.size()) != 0) continue;
    line.remove_prefix(start.size());
    if (std::all_of(line.begin(), line.end(), [](unsigned char c) { return c > ' ' && c < 127; }))
      return std::string(line);
  }
  return refuse("usage", "token file " + path + " has no line \"Authorization: Bearer TOKEN\"", remedy);
}

Result<Endpoint> find_endpoint(const Places& places) {
  const bool by_option = !places.socket.empty() || !places.url.empty();
  const std::string& socket = by_option ? places.socket : places.env_socket;
  const std::string& url = by_option ? places.url : places.env_url;
  if (!socket.empty() && !url.empty())
    return refuse("usage",
                  by_option ? "--socket and --url are both given" : "HATCHD_SOCKET and HATCHD_URL are both set",
                  "a daemon has one address: take one of them away");
  Result<Endpoint> endpoint = socket.empty() && url.empty() ? discovered(places) : named(socket, url);
  if (!endpoint) return endpoint;

  const std::string& token_file = places.token_file.empty() ? places.env_token_file : places.token_file;
  if (token_file.empty()) return endpoint;
  Result<std::string> token = read_token_file(token_file);
  if (!token) return tl::unexpected(token.error());
  if (endpoint->url.starts_with("http://") && !loopback(endpoint->url))
    return refuse("usage", "a token is not sent in clear text to " + endpoint->url,
                  "use https://, or a tunnel to its loopback address");
  endpoint->token = std::move(*token);
  return endpoint;
}

}  // namespace hatchd::client
