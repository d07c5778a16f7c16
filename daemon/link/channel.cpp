#include "link/channel.hpp"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "base/json.hpp"
#include "link/receive.hpp"

namespace hatchd::link {

namespace json = boost::json;

namespace {

// A packet whose body is in a memfd says just this.
constexpr std::string_view spilled = "@";

// One poll(2) that survives signals; false when `timeout_ms` passed.
bool wait_for(int fd, short events, int timeout_ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    pollfd entry{fd, events, 0};
    int left = timeout_ms;
    if (timeout_ms >= 0) {
      const auto rest = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
      left = rest > 0 ? static_cast<int>(rest) : 0;
    }
    const int n = ::poll(&entry, 1, left);
    if (n < 0 && errno == EINTR) continue;
    return n > 0;
  }
}

}  // namespace

std::pair<UniqueFd, UniqueFd> Channel::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    throw std::runtime_error("socketpair: " + errno_text(errno));
  return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

bool Channel::send(std::string_view type, json::object body, std::span<const int> fds, int patience_ms) {
  body["type"] = type;
  const std::string text = json::serialize(body);
  std::string_view packet = text;
  UniqueFd spill;
  std::vector<int> all(fds.begin(), fds.end());
  if (text.size() > max_inline) {
    if (text.size() > max_body) return errno = EMSGSIZE, false;
    auto memfd = sealed_memfd("hatchd-message", text);
    if (!memfd) return false;
    spill = std::move(*memfd);
    all.insert(all.begin(), spill.get());
    packet = spilled;
  }
  if (all.size() > max_fds + 1) return errno = EMSGSIZE, false;

  iovec part{const_cast<char*>(packet.data()), packet.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  std::vector<char> control(all.empty() ? 0 : CMSG_SPACE(all.size() * sizeof(int)));
  if (!all.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(all.size() * sizeof(int));
    std::memcpy(CMSG_DATA(first), all.data(), all.size() * sizeof(int));
  }
  for (;;) {
    if (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || patience_ms == 0) return false;
    if (!wait_for(socket_.get(), POLLOUT, patience_ms)) return errno = EAGAIN, false;
    patience_ms = 0;
  }
}

Received Channel::receive(Message& message) { return link::receive(socket_.get(), message, max_body); }

Received receive(int socket, Message& message, std::size_t max_body) {
  message = {};
  // Not zeroed and not on the heap: a page that is not written costs nothing, and after a fork each one that is costs a
  // copy.
  std::array<char, Channel::max_inline> room;
  iovec part{room.data(), room.size()};
  alignas(cmsghdr) char control[CMSG_SPACE((Channel::max_fds + 1) * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  // ECONNRESET, which is told once: the other side ended without reading all that we sent. What it had said before is
  // still there.
  do n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && (errno == EINTR || errno == ECONNRESET));
  if (n < 0) return errno == EAGAIN ? Received::nothing : Received::ended;

  // It may hold secrets, and what is on the stack of a process that forks others is theirs, too.
  const Defer wipe{[&] { ::explicit_bzero(room.data(), static_cast<std::size_t>(n)); }};

  // Take every descriptor first: whatever is wrong with the packet, none may leak.
  for (cmsghdr* entry = CMSG_FIRSTHDR(&header); entry; entry = CMSG_NXTHDR(&header, entry)) {
    if (entry->cmsg_level != SOL_SOCKET || entry->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(entry) + i * sizeof(int), sizeof fd);
      message.fds.emplace_back(fd);
    }
  }
  // We never send an empty packet, so this is the end of file of a SOCK_SEQPACKET socket.
  if (n == 0) return Received::ended;
  if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return Received::broken;

  std::string_view packet(room.data(), static_cast<std::size_t>(n));
  std::string body;
  if (packet == spilled) {
    if (message.fds.empty()) return Received::broken;
    auto text = read_memfd(message.fds.front().get(), max_body);
    if (!text) return Received::broken;
    body = std::move(*text);
    packet = body;
    message.fds.erase(message.fds.begin());
  }
  auto value = parse_json(packet);
  if (!value || !value->is_object()) return Received::broken;
  message.body = std::move(value->get_object());
  message.type = text_of(message.body, "type");
  return message.type.empty() ? Received::broken : Received::message;
}

Received Channel::wait(Message& message, int timeout_ms) {
  if (!wait_for(socket_.get(), POLLIN, timeout_ms)) return Received::nothing;
  return receive(message);
}

}  // namespace hatchd::link
