#include "stack/connection.hpp"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace stack {
namespace {

constexpr std::size_t max_head = 16 * 1024, max_chunk_line = 1024;
constexpr std::size_t read_size = 256 * 1024;
constexpr int slice_ms = 50;  // between two looks at the run's cancellation

std::string lower(std::string_view text) {
  std::string out{text};
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

// The value of a field of a head, in small letters; nullopt: it is not there.
std::optional<std::string_view> field(std::string_view head, std::string_view name) {
  const std::size_t at = head.find("\r\n" + std::string(name) + ":");
  if (at == head.npos) return std::nullopt;
  std::string_view value = head.substr(at + 2 + name.size() + 1);
  value = value.substr(0, value.find('\r'));
  while (value.starts_with(' ')) value.remove_prefix(1);
  while (value.ends_with(' ')) value.remove_suffix(1);
  return value;
}

template <class Number>
std::optional<Number> number(std::string_view text, int base) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional{value} : std::nullopt;
}

}  // namespace

Got Connection::wait(short events, Clock::time_point deadline) {
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

bool Connection::connect(const Endpoint& endpoint, Clock::time_point deadline) {
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

Got Connection::read_more(Clock::time_point deadline) {
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

bool Connection::write_all(std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    if (!fd_ || wait(POLLOUT, deadline) != Got::message) return false;
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return close(), false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void Connection::drop_taken() {
  if (taken_ < in_.size() && taken_ < read_size) return;
  in_.erase(0, taken_);
  taken_ = 0;
}

// ---- HTTP

Got Connection::ask(const std::string& path, const std::string& more, std::string& head, Clock::time_point deadline) {
  // Host is an IP literal: for any other name Node's inspector answers 400, against DNS rebinding.
  if (!write_all("GET " + path + " HTTP/1.1\r\nHost: " + host_ + "\r\n" + more + "\r\n", deadline)) return Got::closed;
  for (;;) {
    const std::size_t end = in_.find("\r\n\r\n", taken_);
    if (end != in_.npos) {
      head = in_.substr(taken_, end + 2 - taken_);
      taken_ = end + 4;
      return Got::message;
    }
    if (in_.size() - taken_ > max_head) return Got::broken;
    if (const Got more_came = read_more(deadline); more_came != Got::message) return more_came;
  }
}

Got Connection::take_body(std::size_t size, std::size_t limit, HttpAnswer& answer, Clock::time_point deadline) {
  while (size > 0) {
    if (taken_ == in_.size()) {
      drop_taken();
      if (const Got more = read_more(deadline); more != Got::message) return more;
      continue;
    }
    const std::size_t room = limit - answer.body.size(), there = std::min(size, in_.size() - taken_);
    answer.body.append(in_, taken_, std::min(there, room));
    taken_ += there;
    size -= there;
    if (there > room) return answer.cut = true, Got::message;
    drop_taken();
  }
  return Got::message;
}

Got Connection::take_line(std::string& line, Clock::time_point deadline) {
  for (;;) {
    const std::size_t end = in_.find("\r\n", taken_);
    if (end != in_.npos) {
      line = in_.substr(taken_, end - taken_);
      taken_ = end + 2;
      return line.size() > max_chunk_line ? Got::broken : Got::message;
    }
    if (in_.size() - taken_ > max_chunk_line) return Got::broken;
    if (const Got more = read_more(deadline); more != Got::message) return more;
  }
}

// RFC 9112, section 7.1.
Got Connection::take_chunks(std::size_t limit, HttpAnswer& answer, Clock::time_point deadline) {
  std::string line;
  for (;;) {
    if (const Got got = take_line(line, deadline); got != Got::message) return got;
    const auto size = number<std::size_t>(std::string_view{line}.substr(0, line.find_first_of("; ")), 16);
    if (!size) return Got::broken;
    if (*size == 0) break;
    if (const Got got = take_body(*size, limit, answer, deadline); got != Got::message || answer.cut) return got;
    if (const Got got = take_line(line, deadline); got != Got::message) return got;
    if (!line.empty()) return Got::broken;
  }
  constexpr int max_trailers = 64;
  for (int i = 0; i < max_trailers; ++i) {
    if (const Got got = take_line(line, deadline); got != Got::message || line.empty()) return got;
  }
  return Got::broken;
}

HttpAnswer Connection::get(const std::string& path, std::size_t limit, Clock::time_point deadline) {
  HttpAnswer answer;
  std::string head;
  answer.end = ask(path, "", head, deadline);
  answer.came = came_;
  if (answer.end != Got::message) {
    if (answer.end == Got::closed && in_.size() > taken_) answer.end = Got::broken;
    return close(), answer;
  }
  const auto status = head.starts_with("HTTP/1.") && head.size() > 12 && head[8] == ' '
                          ? number<int>(std::string_view{head}.substr(9, 3), 10)
                          : std::nullopt;
  if (!status || *status < 100) return answer.end = Got::broken, close(), answer;
  answer.status = *status;
  head = lower(head);
  const auto length = field(head, "content-length"), coding = field(head, "transfer-encoding");
  if (coding) {
    answer.end = *coding == "chunked" ? take_chunks(limit, answer, deadline) : Got::broken;
  } else if (length) {
    const auto size = number<std::size_t>(*length, 10);
    answer.end = size ? take_body(*size, limit, answer, deadline) : Got::broken;
  } else {
    answer.end = take_body(std::size_t(-1), limit, answer, deadline);
    if (answer.end == Got::closed) answer.end = Got::message;
  }
  if (answer.end != Got::message || answer.cut) close();
  drop_taken();
  return answer;
}

}  // namespace stack
