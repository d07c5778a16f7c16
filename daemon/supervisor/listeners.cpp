#include "supervisor/listeners.hpp"

#include <arpa/inet.h>
#include <grp.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/log.hpp"

namespace hatchd::supervisor {

namespace {

constexpr int backlog = 512;

// Does somebody accept on this socket file?
bool answers(const sockaddr_un& address) {
  const UniqueFd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN;
}

using Address = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// "ADDRESS:PORT" in numbers.
Result<Address> resolve(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refuse("internal", text + " is not ADDRESS:PORT");
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), text.substr(colon + 1).c_str(), &hints, &found); error != 0)
    return refuse("internal", text + ": " + ::gai_strerror(error),
                  "write an IP address and a port, such as 127.0.0.1:4282");
  return Address{found, &::freeaddrinfo};
}

// Is `fd` a listening socket with the address of this listener?
bool is_bound_to(int fd, const config::Listen& listen) {
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) return false;
  sockaddr_storage bound{};
  size = sizeof bound;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return false;
  if (!listen.unix_path.empty()) {
    const auto& address = reinterpret_cast<const sockaddr_un&>(bound);
    return bound.ss_family == AF_UNIX && listen.unix_path == address.sun_path;
  }
  const auto wanted = resolve(listen.address);
  if (!wanted || (*wanted)->ai_family != bound.ss_family) return false;
  if (bound.ss_family == AF_INET) {
    const auto& is = reinterpret_cast<const sockaddr_in&>(bound);
    const auto& should = reinterpret_cast<const sockaddr_in&>(*(*wanted)->ai_addr);
    return is.sin_port == should.sin_port && is.sin_addr.s_addr == should.sin_addr.s_addr;
  }
  const auto& is = reinterpret_cast<const sockaddr_in6&>(bound);
  const auto& should = reinterpret_cast<const sockaddr_in6&>(*(*wanted)->ai_addr);
  return is.sin6_port == should.sin6_port && std::memcmp(&is.sin6_addr, &should.sin6_addr, sizeof is.sin6_addr) == 0;
}

}  // namespace

Result<Listener> bind_unix(const std::string& path, unsigned mode, const std::string& group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return refuse("internal", path + ": a socket path has at most 107 bytes (unix(7))", "choose a shorter path");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);

  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return refuse("internal", path + ": cannot make its folder: " + error.message());
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return refuse("internal", path + " is there and is not a socket", "move it away");
    if (answers(address))
      return refuse("internal", path + ": another process serves there", "stop it, or choose another path");
    ::unlink(path.c_str());
  }

  Listener listener{UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}, path, {}};
  // Between bind and chmod nobody but us may connect.
  const mode_t before = ::umask(0177);
  const int bound = ::bind(listener.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(before);
  if (bound != 0)
    return refuse("internal", path + ": bind: " + errno_text(errno),
                  "check the rights on " + std::filesystem::path(path).parent_path().string());
  if (!group.empty()) {
    const ::group* entry = ::getgrnam(group.c_str());
    if (!entry) return refuse("internal", path + ": there is no group " + group, "groupadd --system " + group);
    if (::chown(path.c_str(), static_cast<uid_t>(-1), entry->gr_gid) != 0)
      return refuse("internal", path + ": chown: " + errno_text(errno));
  }
  if (::chmod(path.c_str(), mode) != 0) return refuse("internal", path + ": chmod: " + errno_text(errno));
  if (::listen(listener.fd.get(), backlog) != 0) return refuse("internal", path + ": listen: " + errno_text(errno));
  return listener;
}

Result<Listener> bind_tcp(const std::string& text) {
  auto found = resolve(text);
  if (!found) return tl::unexpected(found.error());
  const addrinfo& address = **found;
  Listener listener{UniqueFd{::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}, {}, {}};
  const int on = 1;
  ::setsockopt(listener.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ai_family == AF_INET6) ::setsockopt(listener.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(listener.fd.get(), address.ai_addr, address.ai_addrlen) != 0 || ::listen(listener.fd.get(), backlog) != 0)
    return refuse("internal", text + ": " + errno_text(errno), "is another process listening there?");

  sockaddr_storage real{};
  socklen_t size = sizeof real;
  char port[8];
  ::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&real), &size);
  ::getnameinfo(reinterpret_cast<sockaddr*>(&real), size, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
  listener.tcp = text.substr(0, text.rfind(':') + 1) + port;
  return listener;
}

Result<std::vector<Listener>> bind_all(const std::vector<config::Listen>& listen, std::vector<UniqueFd> given) {
  std::vector<Listener> listeners;
  for (const config::Listen& entry : listen) {
    const auto same =
        std::find_if(given.begin(), given.end(), [&](const UniqueFd& fd) { return is_bound_to(fd.get(), entry); });
    if (same != given.end()) {
      listeners.push_back({std::move(*same), entry.unix_path, entry.address, true});
      given.erase(same);
      continue;
    }
    auto listener =
        entry.unix_path.empty() ? bind_tcp(entry.address) : bind_unix(entry.unix_path, entry.mode, entry.group);
    if (!listener) {
      unbind(listeners);
      return tl::unexpected(listener.error());
    }
    listeners.push_back(std::move(*listener));
  }
  if (!given.empty())
    log::warning("sockets from systemd are not used: no listener of the configuration has their address",
                 {{"count", given.size()}});
  return listeners;
}

void unbind(const std::vector<Listener>& listeners) {
  for (const Listener& listener : listeners)
    if (!listener.unix_path.empty() && !listener.given) ::unlink(listener.unix_path.c_str());
}

}  // namespace hatchd::supervisor
