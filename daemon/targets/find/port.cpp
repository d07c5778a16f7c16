// By listening TCP port: sock_diag(7) tells the inodes of the sockets that listen on it, /proc/PID/fd tells who holds
// them. Where netlink is not to be had, /proc/net/tcp and tcp6 (proc(5)) list the same. All of it is of hatchd's own
// network namespace.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>

#include "base/fd.hpp"
#include "hatch/sock_diag.hpp"
#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

using Inodes = std::set<std::string>;  // as in "socket:[123]", to be compared with links

constexpr unsigned tcp_listen = 10;  // include/net/tcp_states.h
constexpr std::size_t max_inodes = 1024;

std::string socket_link(std::uint64_t inode) { return "socket:[" + std::to_string(inode) + "]"; }

// False when netlink cannot tell.
bool ask_netlink(std::uint8_t family, std::uint16_t port, Inodes& inodes) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = 1u << tcp_listen;
  request.id.idiag_sport = htons(port);
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return hatch::ask_sock_diag({reinterpret_cast<const char*>(&request), sizeof request}, [&](std::string_view bytes) {
    inet_diag_msg answer;
    if (bytes.size() < sizeof answer) return false;
    std::memcpy(&answer, bytes.data(), sizeof answer);
    if (ntohs(answer.id.idiag_sport) == port && inodes.size() < max_inodes)
      inodes.insert(socket_link(answer.idiag_inode));
    return true;
  });
}

// Lines of "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …".
bool ask_table(const char* path, std::uint16_t port, Inodes& inodes) {
  const auto text = read_front(AT_FDCWD, path, 4 * 1024 * 1024);
  if (!text) return false;
  for (std::size_t begin = 0; begin < text->size();) {
    const std::size_t end = std::min(text->find('\n', begin), text->size());
    const std::string line = text->substr(begin, end - begin);
    begin = end + 1;
    unsigned local = 0, state = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), " %*d: %*32[0-9A-F]:%4X %*32[0-9A-F]:%*4X %2X %*s %*s %*s %*u %*d %lu", &local,
                    &state, &inode) == 3 &&
        local == port && state == tcp_listen && inodes.size() < max_inodes)
      inodes.insert(socket_link(inode));
  }
  return true;
}

class ByPort : public Finder {
 public:
  explicit ByPort(std::uint16_t port) : port_(port) {}
  Shape shape() const override { return Shape::tree; }
  std::string what() const override { return "process that listens on TCP port " + std::to_string(port_); }

  Result<std::optional<pid_t>> begin() override {
    inodes_.clear();
    refused_ = false;
    const bool v4 = ask_netlink(AF_INET, port_, inodes_) || ask_table("/proc/net/tcp", port_, inodes_);
    const bool v6 = ask_netlink(AF_INET6, port_, inodes_) || ask_table("/proc/net/tcp6", port_, inodes_);
    if (!v4 && !v6)
      return refuse(gone, "neither sock_diag nor /proc/net/tcp tells who listens on port " + std::to_string(port_));
    if (inodes_.empty()) return refuse(gone, "nothing listens on TCP port " + std::to_string(port_));
    return std::optional<pid_t>{};
  }

  bool fits(pid_t, int directory) override {
    bool holds = false;
    const UniqueFd fds{::openat(directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fds) {
      refused_ = refused_ || errno == EACCES || errno == EPERM;
      return false;
    }
    std::size_t seen = 0;
    each_entry(fds.get(), ".", [&](const char* entry) {
      char link[64];
      const ssize_t n = ::readlinkat(fds.get(), entry, link, sizeof link);
      holds = n > 0 && link[0] == 's' && inodes_.contains(std::string(link, static_cast<std::size_t>(n)));
      return !holds && ++seen < 100'000;
    });
    if (!holds) return false;
    // systemd keeps the sockets that it hands to services; it is not the one that serves.
    const auto comm = read_front(directory, "comm", 64);
    return comm != "systemd\n";
  }
  std::optional<Problem> doubt() const override {
    if (!refused_) return std::nullopt;
    Problem problem{rights_missing, "something listens on TCP port " + std::to_string(port_) +
                                        ", but in no process whose descriptors hatchd may list"};
    return problem;
  }

 private:
  std::uint16_t port_;
  Inodes inodes_;
  bool refused_ = false;
};

}  // namespace

Made by_port(const json::value& value, const Context&) {
  const auto port = number_value(value, 1, 65535);
  if (!port) return refuse("malformed", "must be a TCP port, 1 to 65535");
  return std::make_unique<ByPort>(static_cast<std::uint16_t>(*port));
}

}  // namespace hatchd::targets
