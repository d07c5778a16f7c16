#include "stack/node/websocket.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>

namespace stack::node {
namespace {

enum Opcode : unsigned { continuation = 0, text_frame = 1, close_frame = 8, ping = 9, pong = 10 };

std::string base64_of(const std::array<unsigned char, 16>& bytes) {
  constexpr char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int have = 0;
  for (const unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (have += 8; have >= 6; have -= 6) out += alphabet[bits >> (have - 6) & 63];
  }
  if (have > 0) out += alphabet[bits << (6 - have) & 63];
  while (out.size() % 4) out += '=';
  return out;
}

void fill_randomly(unsigned char* into, std::size_t size) {
  // Masks are for proxies between browsers and servers (RFC 6455, section 10.3); here is none, so any bytes do.
  if (::getrandom(into, size, GRND_NONBLOCK) != static_cast<ssize_t>(size)) std::fill_n(into, size, 0x5a);
}

}  // namespace

bool WebSocket::upgrade(const std::string& path, Clock::time_point deadline) {
  std::array<unsigned char, 16> nonce{};
  fill_randomly(nonce.data(), nonce.size());
  std::string head;
  // Sec-WebSocket-Accept is not looked at: it tells a server from something that is none, and nothing of who it is.
  return ask(path,
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
                 base64_of(nonce) + "\r\n",
             head, deadline) == Got::message &&
         head.starts_with("HTTP/1.1 101 ");
}

// ---- frames
// ------------------------------------------------------------------------------------------------------------

bool WebSocket::send_frame(unsigned opcode, std::string_view payload, Clock::time_point deadline) {
  std::string out;
  out.reserve(payload.size() + 14);
  out += static_cast<char>(0x80 | opcode);
  const auto put_size = [&](int bytes) {
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift & 0xFF);
  };
  if (payload.size() < 126) {
    out += static_cast<char>(0x80 | payload.size());
  } else if (payload.size() < 0x10000) {
    out += static_cast<char>(0x80 | 126);
    put_size(2);
  } else {
    out += static_cast<char>(0x80 | 127);
    put_size(8);
  }
  std::array<unsigned char, 4> mask{};
  fill_randomly(mask.data(), mask.size());
  out.append(reinterpret_cast<const char*>(mask.data()), mask.size());
  for (std::size_t i = 0; i < payload.size(); ++i)
    out += static_cast<char>(static_cast<unsigned char>(payload[i]) ^ mask[i % 4]);
  return write_all(out, deadline);
}

bool WebSocket::send(std::string_view text, Clock::time_point deadline) {
  return send_frame(text_frame, text, deadline);
}

Got WebSocket::next_frame(Frame& frame) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(in_[taken_ + i]); };
  const std::size_t there = in_.size() - taken_;
  if (there < 2) return Got::timeout;
  frame.last = byte(0) & 0x80;
  frame.opcode = byte(0) & 0x0F;
  if (byte(0) & 0x70 || byte(1) & 0x80)
    return Got::broken;  // an extension that was not offered; a server masks nothing
  std::uint64_t size = byte(1) & 0x7F;
  std::size_t head = 2;
  if (frame.opcode >= 8 && (size > 125 || !frame.last)) return Got::broken;
  if (size >= 126) {
    const std::size_t bytes = size == 126 ? 2 : 8;
    if (there < head + bytes) return Got::timeout;
    size = 0;
    for (std::size_t i = 0; i < bytes; ++i) size = size << 8 | byte(head + i);
    head += bytes;
  }
  if (size > max_message) return Got::broken;
  if (there < head + size) return Got::timeout;
  frame.payload = std::string_view{in_}.substr(taken_ + head, static_cast<std::size_t>(size));
  taken_ += head + static_cast<std::size_t>(size);
  return Got::message;
}

Got WebSocket::receive(std::string& text, Clock::time_point& came, Clock::time_point deadline) {
  text.clear();
  bool within = false;
  for (;;) {
    Frame frame;
    const Got got = next_frame(frame);
    if (got == Got::broken) return close(), got;
    if (got == Got::timeout) {
      drop_taken();
      if (const Got more = read_more(deadline); more != Got::message) return more;
      continue;
    }
    if (frame.opcode == close_frame) return close(), Got::closed;
    if (frame.opcode == ping && !send_frame(pong, std::string(frame.payload), deadline)) return Got::closed;
    if (frame.opcode >= 8) continue;
    if (frame.opcode != (within ? continuation : text_frame)) return close(), Got::broken;
    if (!within) came = came_;
    if (text.size() + frame.payload.size() > max_message) return close(), Got::broken;
    text += frame.payload;
    within = true;
    if (frame.last) return Got::message;
  }
}

}  // namespace stack::node
