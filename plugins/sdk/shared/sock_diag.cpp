#include "hatch/sock_diag.hpp"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace hatch {

namespace {

enum class Progress { more, done, failed };

// One packet: answers one behind the other. NLMSG_NEXT goes by aligned lengths, and so past the end of a last message
// whose own is none.
Progress take_packet(std::string_view packet, const std::function<bool(std::string_view)>& take) {
  while (packet.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, packet.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > packet.size()) break;
    if (header.nlmsg_type == NLMSG_DONE) return Progress::done;
    if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return Progress::failed;
    if (!take(packet.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN))) return Progress::failed;
    packet.remove_prefix(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), packet.size()));
  }
  return Progress::more;
}

bool converse(int socket, std::string_view request, const std::function<bool(std::string_view)>& take) {
  const timeval patience{0, 500'000};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + request.size());
  header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes += request;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(socket, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) < 0)
    return false;
  alignas(nlmsghdr) char packet[32 * 1024];
  for (int packets = 0; packets < 1024; ++packets) {
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    const ssize_t n = ::recvfrom(socket, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    if (from.nl_pid != 0) continue;  // whoever may send to this socket, it is not the kernel
    const Progress progress = take_packet({packet, static_cast<std::size_t>(n)}, take);
    if (progress != Progress::more) return progress == Progress::done;
  }
  return false;
}

}  // namespace

bool ask_sock_diag(std::string_view request, const std::function<bool(std::string_view answer)>& take) {
  const int socket = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (socket < 0) return false;
  const bool whole = converse(socket, request, take);
  ::close(socket);
  return whole;
}

}  // namespace hatch
