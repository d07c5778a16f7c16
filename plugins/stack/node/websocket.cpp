#include "stack/node/websocket.hpp"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

namespace stack::node {
namespace {

constexpr std::size_t max_head = 16 * 1024, max_body = 256 * 1024;
constexpr std::size_t read_size = 256 * 1024;
constexpr int slice_ms = 50;  // between two looks at the run's cancellation

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

Got WebSocket::wait(short events, Clock::time_point deadline) {
  for (;;) {
    if (hold_.cancelled()) return Got::cancelled;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Got::timeout;
    pollfd ready{fd_.get(), events, 0};
    const int n = ::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, slice_ms)));
    if (n > 0) return Got::message;
    if (n < 0 && errno != EINTR) return Got::broken;
  }
}

bool WebSocket::connect(const Endpoint& endpoint, Clock::time_point deadline) {
  in_.clear();
  taken_ = 0;
  host_ = endpoint.text;
  fd_ = UniqueFd{::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd_) return false;
  const int one = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) == 0) return true;
  if (errno != EINPROGRESS || wait(POLLOUT, deadline) != Got::message) return close(), false;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0) return close(), false;
  return true;
}

Got WebSocket::read_more(Clock::time_point deadline) {
  if (!fd_) return Got::closed;
  if (const Got ready = wait(POLLIN, deadline); ready != Got::message) return ready;
  const std::size_t had = in_.size();
  in_.resize(had + read_size);
  const ssize_t n = ::recv(fd_.get(), in_.data() + had, read_size, 0);
  in_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return Got::message;
  if (n <= 0) return close(), Got::closed;
  if (had == taken_) came_ = Clock::now();
  // Node leaves Nagle's algorithm on, so its next packet waits for our acknowledgement, and ours would wait 40 ms for
  // something to travel with: during a pause that is 40 ms of standing still. The kernel forgets this after a while, so
  // it is said again after each read (tcp(7)).
  const int one = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
  return Got::message;
}

bool WebSocket::write_all(std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    if (!fd_ || wait(POLLOUT, deadline) != Got::message) return false;
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return close(), false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// ---- HTTP
// --------------------------------------------------------------------------------------------------------------

bool WebSocket::ask(const std::string& path, const std::string& more, std::string& head, Clock::time_point deadline) {
  // Host is an IP literal: for any other name the inspector answers 400, against DNS rebinding.
  if (!write_all("GET " + path + " HTTP/1.1\r\nHost: " + host_ + "\r\n" + more + "\r\n", deadline)) return false;
  for (;;) {
    const std::size_t end = in_.find("\r\n\r\n", taken_);
    if (end != in_.npos) {
      head = in_.substr(taken_, end + 2 - taken_);
      taken_ = end + 4;
      return true;
    }
    if (in_.size() - taken_ > max_head || read_more(deadline) != Got::message) return false;
  }
}

std::optional<std::string> WebSocket::get(const std::string& path, Clock::time_point deadline) {
  std::string head;
  if (!ask(path, "", head, deadline) || !head.starts_with("HTTP/1.") || head.substr(8, 4) != " 200")
    return std::nullopt;
  std::string lower = head;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  constexpr std::string_view field = "\r\ncontent-length:";
  const std::size_t at = lower.find(field);
  if (at == lower.npos) return std::nullopt;
  std::size_t digits = at + field.size(), length = 0;
  while (digits < head.size() && head[digits] == ' ') ++digits;
  const auto [end, error] = std::from_chars(head.data() + digits, head.data() + head.size(), length);
  if (error != std::errc{} || length > max_body) return std::nullopt;
  while (in_.size() - taken_ < length)
    if (read_more(deadline) != Got::message) return std::nullopt;
  std::string body = in_.substr(taken_, length);
  taken_ += length;
  drop_taken();
  return body;
}

bool WebSocket::upgrade(const std::string& path, Clock::time_point deadline) {
  std::array<unsigned char, 16> nonce{};
  fill_randomly(nonce.data(), nonce.size());
  std::string head;
  // Sec-WebSocket-Accept is not looked at: it tells a server from something that is none, and nothing of who it is.
  return ask(path,
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
                 base64_of(nonce) + "\r\n",
             head, deadline) &&
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

void WebSocket::drop_taken() {
  if (taken_ < in_.size() && taken_ < read_size) return;
  in_.erase(0, taken_);
  taken_ = 0;
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
