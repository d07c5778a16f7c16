// A channel between two of hatchd's processes: a SOCK_SEQPACKET socket pair (unix(7)) that carries one JSON object a
// packet, with descriptors beside it (SCM_RIGHTS). protocol.hpp lists the messages.
//
// A packet keeps its borders, so there is no partial state to get wrong, and a message and its descriptors arrive
// together or not at all. A body above 64 KiB travels as a sealed memfd, as the first descriptor of its packet; the
// reader gets the same Message either way.
//
// Both ends treat the other as possibly captured: sizes and depths are bounded, surplus descriptors are closed, and a
// packet that is not a JSON object with a "type" is `broken`, after which the owner drops the channel.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/problem.hpp"

namespace hatchd::link {

struct Message {
  std::string type;
  boost::json::object body;  // with "type" in it
  std::vector<UniqueFd> fds;
};

enum class Received { message, nothing, ended, broken };

class Channel {
 public:
  static constexpr std::size_t max_inline = 64 * 1024;
  static constexpr std::size_t max_body = 16 * 1024 * 1024;
  static constexpr std::size_t max_fds = 200;  // below the kernel's SCM_MAX_FD of 253

  Channel() = default;
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}

  // Two connected ends, close-on-exec, non-blocking.
  static std::pair<UniqueFd, UniqueFd> pair();

  int fd() const { return socket_.get(); }
  explicit operator bool() const { return static_cast<bool>(socket_); }
  void close() { socket_.reset(); }

  // Sends at once; descriptors stay the caller's. False when the other side is gone or its buffer stays full for
  // `patience_ms` (a process that no longer reads is as good as gone); errno says which.
  bool send(std::string_view type, boost::json::object body = {}, std::span<const int> fds = {},
            int patience_ms = 2000);

  // Takes one message if there is one; never waits.
  Received receive(Message& message);

  // Waits up to `timeout_ms` (-1: for ever) for one message: for children's start-up and tests.
  Received wait(Message& message, int timeout_ms);

 private:
  UniqueFd socket_;
};

}  // namespace hatchd::link
