// A connection to Node's inspector: HTTP for its list, then a WebSocket (RFC 6455) for its protocol. Own code, since all
// of it that one peer speaks is small: text frames, no extensions, no fragments of ours.
#pragma once

#include "stack/connection.hpp"

namespace stack::node {

class WebSocket final : public Connection {
 public:
  static constexpr std::size_t max_message = std::size_t{16} << 20;

  using Connection::Connection;

  bool upgrade(const std::string& path, Clock::time_point deadline);

  // One text frame.
  bool send(std::string_view text, Clock::time_point deadline);
  // The next text message. `came`: when its first byte was there.
  Got receive(std::string& text, Clock::time_point& came, Clock::time_point deadline);

 private:
  struct Frame {
    unsigned opcode = 0;
    bool last = false;
    std::string_view payload;
  };

  bool send_frame(unsigned opcode, std::string_view payload, Clock::time_point deadline);
  // A whole frame from the buffer. message: there is one; timeout: not yet whole.
  Got next_frame(Frame& frame);
};

}  // namespace stack::node
