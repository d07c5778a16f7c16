// A connection to Node's inspector: HTTP for its list, then a WebSocket (RFC 6455) for its protocol. Own code, since all
// of it that one peer speaks is small: text frames, no extensions, no fragments of ours.
//
// The peer is the target, and hostile: every length is bounded, every wait ends.
#pragma once

#include <netinet/in.h>

#include "stack/model.hpp"

namespace stack::node {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
  std::string text;  // "127.0.0.1:9229", "[::1]:9229"
};

enum class Got {
  message,
  timeout,
  closed,     // by the peer
  broken,     // it does not speak the protocol, or too much of it
  cancelled,  // the run is
};

class WebSocket {
 public:
  static constexpr std::size_t max_message = std::size_t{16} << 20;

  explicit WebSocket(Hold& hold) : hold_(hold) {}

  bool connect(const Endpoint& endpoint, Clock::time_point deadline);
  // The body of a 200; nothing: no such answer. The connection may ask again, or upgrade.
  std::optional<std::string> get(const std::string& path, Clock::time_point deadline);
  bool upgrade(const std::string& path, Clock::time_point deadline);

  // One text frame.
  bool send(std::string_view text, Clock::time_point deadline);
  // The next text message. `came`: when its first byte was there.
  Got receive(std::string& text, Clock::time_point& came, Clock::time_point deadline);
  void close() { fd_ = {}; }
  bool is_open() const { return static_cast<bool>(fd_); }

 private:
  struct Frame {
    unsigned opcode = 0;
    bool last = false;
    std::string_view payload;
  };

  Got wait(short events, Clock::time_point deadline);
  Got read_more(Clock::time_point deadline);
  bool write_all(std::string_view bytes, Clock::time_point deadline);
  bool send_frame(unsigned opcode, std::string_view payload, Clock::time_point deadline);
  bool ask(const std::string& path, const std::string& more, std::string& head, Clock::time_point deadline);
  // A whole frame from the buffer. message: there is one; timeout: not yet whole.
  Got next_frame(Frame& frame);
  void drop_taken();

  Hold& hold_;
  UniqueFd fd_;
  std::string host_;
  std::string in_;         // read and not yet taken
  std::size_t taken_ = 0;  // of in_
  Clock::time_point came_{};
};

}  // namespace stack::node
