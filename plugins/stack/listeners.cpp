#include "stack/listeners.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <unordered_set>

#include "hatch/sock_diag.hpp"

namespace stack {
namespace {

constexpr std::size_t table_limit = std::size_t{1} << 20;  // the kernel lists what listens first
constexpr std::size_t max_listeners = 4096, max_descriptors = 200'000;

// Eight hexadecimal digits are 32 bits as the machine stores them, and the address is in network order.
bool read_words(std::string_view hex, unsigned char* into, std::size_t words) {
  for (std::size_t i = 0; i < words; ++i) {
    std::uint32_t word = 0;
    const std::string_view digits = hex.substr(i * 8, 8);
    if (digits.size() != 8 || std::from_chars(digits.data(), digits.data() + 8, word, 16).ptr != digits.data() + 8)
      return false;
    std::memcpy(into + i * 4, &word, 4);
  }
  return true;
}

// What to connect to, and who can. The port is there already; `address` as the machine has it in memory, in network order.
void take_address(int family, const unsigned char* address, Listener& listener) {
  char text[INET6_ADDRSTRLEN] = {};
  Endpoint& endpoint = listener.endpoint;
  if (family == AF_INET) {
    auto& in = reinterpret_cast<sockaddr_in&>(endpoint.address);
    in.sin_family = AF_INET;
    in.sin_port = htons(listener.port);
    std::memcpy(&in.sin_addr, address, sizeof in.sin_addr);
    listener.loopback = (ntohl(in.sin_addr.s_addr) >> 24) == 127;
    listener.any = in.sin_addr.s_addr == INADDR_ANY;
    if (listener.any) in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    endpoint.length = sizeof in;
    endpoint.text = std::string(::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text)) + ":";
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(endpoint.address);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(listener.port);
    std::memcpy(&in.sin6_addr, address, sizeof in.sin6_addr);
    listener.loopback = IN6_IS_ADDR_LOOPBACK(&in.sin6_addr);
    listener.any = IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
    if (listener.any) in.sin6_addr = in6addr_loopback;
    endpoint.length = sizeof in;
    endpoint.text = "[" + std::string(::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text)) + "]:";
  }
  endpoint.text += std::to_string(listener.port);
}

std::optional<Listener> parse_row(std::string_view row) {
  // "  0: 0100007F:240D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0  93311 …"
  std::vector<std::string_view> fields;
  for (std::size_t at = 0; at < row.size() && fields.size() < 10;) {
    const std::size_t begin = row.find_first_not_of(' ', at);
    if (begin == row.npos) break;
    at = std::min(row.find(' ', begin), row.size());
    fields.push_back(row.substr(begin, at - begin));
  }
  if (fields.size() < 10 || fields[3] != "0A") return std::nullopt;
  Listener listener;
  const std::string_view local = fields[1];
  const std::size_t colon = local.find(':');
  if (colon == local.npos) return std::nullopt;
  const std::string_view address = local.substr(0, colon), port = local.substr(colon + 1);
  if (std::from_chars(port.data(), port.data() + port.size(), listener.port, 16).ec != std::errc{}) return std::nullopt;
  if (std::from_chars(fields[9].data(), fields[9].data() + fields[9].size(), listener.inode).ec != std::errc{})
    return std::nullopt;

  std::array<unsigned char, 16> bytes{};
  if (address.size() == 8 ? !read_words(address, bytes.data(), 1)
                          : address.size() != 32 || !read_words(address, bytes.data(), 4))
    return std::nullopt;
  take_address(address.size() == 8 ? AF_INET : AF_INET6, bytes.data(), listener);
  return listener;
}

// The same of our own network namespace, by sock_diag(7): there the kernel goes through what listens alone, and for a
// table of /proc/net through all connections and every empty slot of theirs, which takes milliseconds. False: it does not
// tell.
bool ask_listening(int family, std::vector<Listener>& all) {
  const std::size_t end = all.size() + max_listeners;
  inet_diag_req_v2 request{};
  request.sdiag_family = static_cast<std::uint8_t>(family);
  request.sdiag_protocol = IPPROTO_TCP;
  constexpr int listening = 10;  // TCP_LISTEN of the kernel's tcp_states.h
  request.idiag_states = 1U << listening;
  return hatch::ask_sock_diag({reinterpret_cast<const char*>(&request), sizeof request}, [&](std::string_view answer) {
    inet_diag_msg socket{};
    if (answer.size() < sizeof socket) return false;
    std::memcpy(&socket, answer.data(), sizeof socket);
    if (socket.idiag_family != family || socket.idiag_state != listening || all.size() >= end) return true;
    Listener& listener = all.emplace_back();
    listener.port = ntohs(socket.id.idiag_sport);
    listener.inode = socket.idiag_inode;
    take_address(family, reinterpret_cast<const unsigned char*>(socket.id.idiag_src), listener);
    return true;
  });
}

// The inodes of a process's sockets; false with errno set when its descriptors cannot be read.
bool read_sockets(const Process& process, pid_t living, std::unordered_set<std::uint64_t>& inodes) {
  const std::string path = "task/" + std::to_string(living) + "/fd";
  const int fd = ::openat(process.proc_fd, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const directory = fd >= 0 ? ::fdopendir(fd) : nullptr;
  if (!directory) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    errno = error;
    return false;
  }
  std::size_t seen = 0;
  while (const dirent* entry = ::readdir(directory)) {
    if (++seen > max_descriptors) break;
    char target[64];
    const ssize_t n = ::readlinkat(fd, entry->d_name, target, sizeof target);
    constexpr std::string_view prefix = "socket:[";
    if (n <= static_cast<ssize_t>(prefix.size()) || !std::string_view{target, prefix.size()}.starts_with(prefix))
      continue;
    std::uint64_t inode = 0;
    if (std::from_chars(target + prefix.size(), target + n, inode).ec == std::errc{}) inodes.insert(inode);
  }
  ::closedir(directory);
  return true;
}

}  // namespace

std::vector<Listener> parse_listening(std::string_view table) {
  std::vector<Listener> all;
  std::size_t at = table.find('\n');  // behind the heading
  while (at < table.size() && all.size() < max_listeners) {
    const std::size_t begin = at + 1, end = std::min(table.find('\n', begin), table.size());
    if (begin >= end) break;
    auto listener = parse_row(table.substr(begin, end - begin));
    if (!listener) break;  // those that listen come first
    all.push_back(std::move(*listener));
    at = end;
  }
  return all;
}

Listeners find_listeners(const Process& process, pid_t living) {
  Listeners found;
  std::vector<Listener> all;
  if (!shares_network(process, living) || !ask_listening(AF_INET, all) || !ask_listening(AF_INET6, all)) {
    all.clear();
    const std::string net = "task/" + std::to_string(living) + "/net/";
    for (const char* table : {"tcp", "tcp6"}) {
      const auto text = read_below(process.proc_fd, net + table, table_limit);
      if (!text) continue;  // a kernel without IPv6
      std::vector<Listener> some = parse_listening(*text);
      all.insert(all.end(), some.begin(), some.end());
    }
  }
  if (all.empty()) return found;
  std::unordered_set<std::uint64_t> inodes;
  if (!read_sockets(process, living, inodes)) {
    found.error = std::string("its descriptors cannot be read: ") + std::strerror(errno);
    return found;
  }
  for (Listener& listener : all) {
    if (inodes.contains(listener.inode))
      found.own.push_back(std::move(listener));
    else
      found.others.push_back(listener.port);
  }
  return found;
}

bool is_other_end(const Process& process, pid_t living, int connection) {
  sockaddr_storage own{}, peer{};
  socklen_t own_size = sizeof own, peer_size = sizeof peer;
  if (::getsockname(connection, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      ::getpeername(connection, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0)
    return false;
  // As the other end has it: an address of IPv4 stands at the end of one of IPv6 where that end listens by IPv6.
  std::array<std::uint32_t, 4> address{};
  in_port_t own_port = 0, peer_port = 0;
  if (own.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(own);
    address = {0, 0, htonl(0xffff), in.sin_addr.s_addr};
    own_port = in.sin_port, peer_port = reinterpret_cast<const sockaddr_in&>(peer).sin_port;
  } else if (own.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(own);
    std::memcpy(address.data(), &in.sin6_addr, sizeof address);
    own_port = in.sin6_port, peer_port = reinterpret_cast<const sockaddr_in6&>(peer).sin6_port;
  } else {
    return false;
  }
  std::unordered_set<std::uint64_t> inodes;
  if (!read_sockets(process, living, inodes)) return false;
  bool found = false;
  for (const int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 request{};
    request.sdiag_family = static_cast<std::uint8_t>(family);
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = ~0U;
    request.id.idiag_sport = peer_port;
    request.id.idiag_dport = own_port;
    hatch::ask_sock_diag({reinterpret_cast<const char*>(&request), sizeof request}, [&](std::string_view answer) {
      inet_diag_msg socket{};
      if (answer.size() < sizeof socket) return false;
      std::memcpy(&socket, answer.data(), sizeof socket);
      const bool from_us = socket.idiag_family == AF_INET
                               ? own.ss_family == AF_INET && socket.id.idiag_dst[0] == address[3]
                               : std::equal(address.begin(), address.end(), std::begin(socket.id.idiag_dst));
      found |= from_us && socket.id.idiag_sport == peer_port && socket.id.idiag_dport == own_port &&
               inodes.contains(socket.idiag_inode);
      return true;
    });
  }
  return found;
}

bool shares_network(const Process& process, pid_t living) {
  struct stat theirs {
  }, ours{};
  const std::string path = "task/" + std::to_string(living) + "/ns/net";
  return ::fstatat(process.proc_fd, path.c_str(), &theirs, 0) == 0 && ::stat("/proc/self/ns/net", &ours) == 0 &&
         theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

}  // namespace stack
