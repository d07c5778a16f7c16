// The person behind a process: loginuid is set at login and survives sudo and su (proc_pid_loginuid(5)), so the audit
// can name alice where the uid says root. It is read by number from /proc, so the number must still be the peer's: a
// pidfd of the peer (SO_PEERPIDFD, Linux 6.5) that has not ended proves it; before 6.5 a process that is younger than
// the connection or of another uid is not the peer.
#include "http/peer.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <charconv>

#include "access/attempts.hpp"
#include "access/names.hpp"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace hatchd::http {
namespace {

constexpr uid_t unset_login = 4294967295;
constexpr uid_t overflow_uid = 65534;
constexpr socklen_t max_groups = 65536;  // NGROUPS_MAX, limits.h of Linux

template <class N>
std::optional<N> number(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  N value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

std::vector<gid_t> groups_of(int fd) {
  std::vector<gid_t> groups(64);
  auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) {
    if (errno != ERANGE || size > max_groups * sizeof(gid_t)) return {};
    groups.resize(size / sizeof(gid_t));  // the kernel said how many there are
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) return {};
  }
  groups.resize(size / sizeof(gid_t));
  return groups;
}

// Clock ticks since boot at which the process started: field 22 of stat, counted behind the name in parentheses
// (proc(5)).
std::optional<unsigned long long> start_ticks(int directory) {
  const auto stat = read_file_at(directory, "stat", 4096);
  if (!stat) return {};
  std::string_view rest = *stat;
  const std::size_t name_end = rest.rfind(')');
  if (name_end == rest.npos) return {};
  rest.remove_prefix(name_end + 1);
  for (int field = 3; field <= 22; ++field) {
    if (!rest.starts_with(' ')) return {};
    rest.remove_prefix(1);
    const std::size_t end = rest.find(' ');
    if (field == 22) return number<unsigned long long>(rest.substr(0, end));
    if (end == rest.npos) return {};
    rest.remove_prefix(end);
  }
  return {};
}

bool still_running(int pidfd) {
  pollfd wait{pidfd, POLLIN, 0};  // readable when the process has ended (pidfd_open(2))
  return ::poll(&wait, 1, 0) == 0;
}

// Without a pidfd: what speaks against this process being the one that connected?
bool may_be_peer(int directory, uid_t uid, unsigned long long now_ticks) {
  struct stat owner {};
  if (::fstat(directory, &owner) != 0 || owner.st_uid != uid) return false;
  const auto started = start_ticks(directory);
  return started && *started <= now_ticks;
}

unsigned long long ticks_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto hertz = static_cast<unsigned long long>(::sysconf(_SC_CLK_TCK));
  return static_cast<unsigned long long>(now.tv_sec) * hertz +
         static_cast<unsigned long long>(now.tv_nsec) * hertz / 1'000'000'000;
}

std::string login_of(int fd, pid_t pid, uid_t uid) {
  if (pid <= 0) return {};  // a peer in a pid namespace that hatchd does not see
  const unsigned long long now = ticks_since_boot();
  int raw = -1;
  socklen_t size = sizeof raw;
  const bool has_pidfd = ::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &raw, &size) == 0;
  const UniqueFd pidfd(has_pidfd ? raw : -1);
  if (!has_pidfd && errno != ENOPROTOOPT) return {};  // the option is known and the peer has ended

  const std::string path = "/proc/" + std::to_string(pid);
  const UniqueFd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {};
  const auto text = read_file_at(directory.get(), "loginuid", 64);
  const auto login = text ? number<uid_t>(*text) : std::nullopt;
  if (!login || *login == unset_login) return {};
  const bool is_peer = has_pidfd ? still_running(pidfd.get()) : may_be_peer(directory.get(), uid, now);
  return is_peer ? access::user_name(*login) : std::string();
}

std::string address_of(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return "unknown";
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4->sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  return "unknown";
}

}  // namespace

Peer peer_of(int fd, bool local, std::size_t listener) {
  Peer peer;
  peer.local = local;
  peer.listener = listener;
  if (!local) {
    peer.address = address_of(fd);
    return peer;
  }
  peer.address = "unix";
  peer.uid = overflow_uid;
  peer.gid = overflow_uid;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return peer;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  peer.pid = credentials.pid;
  peer.groups = groups_of(fd);
  peer.login = login_of(fd, peer.pid, peer.uid);
  return peer;
}

std::string host_of_address(const std::string& address) { return address.substr(0, address.rfind(':')); }

std::string source_key(const Peer& peer) {
  if (peer.local) return access::source_of(peer);
  std::string host = host_of_address(peer.address);
  // A socket for both kinds of addresses shows IPv4 this way (RFC 4291, section 2.5.5.2).
  constexpr std::string_view mapped = "[::ffff:";
  if (host.starts_with(mapped) && host.find('.') != host.npos)
    host = host.substr(mapped.size(), host.size() - mapped.size() - 1);
  if (host.starts_with("127.") || host == "[::1]") return "loopback";
  return host.starts_with('[') ? access::source_of(peer) : host;
}

}  // namespace hatchd::http
