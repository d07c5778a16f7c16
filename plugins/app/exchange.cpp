#include "app/exchange.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace app {

namespace {

using Clock = std::chrono::steady_clock;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

struct Head {
  unsigned status = 0;
  std::size_t size = 0;      // of the head with its empty line
  std::int64_t length = -1;  // Content-Length; -1: none, the body ends with the connection
  bool chunked = false;
};

// 1: there, 0: not whole yet, -1: this is no HTTP.
int parse_head(std::string_view bytes, Head& head) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (!bytes.substr(0, 7).starts_with(std::string_view("HTTP/1.").substr(0, std::min<std::size_t>(7, bytes.size()))))
    return -1;
  if (end == std::string_view::npos) return bytes.size() > 64 * 1024 ? -1 : 0;
  head = {};
  head.size = end + 4;
  std::string_view lines = bytes.substr(0, end);
  const std::string_view first = lines.substr(0, lines.find("\r\n"));
  if (first.size() < 12 || first[8] != ' ') return -1;
  const auto [stop, error] = std::from_chars(first.data() + 9, first.data() + 12, head.status);
  if (error != std::errc() || stop != first.data() + 12 || head.status < 100) return -1;
  for (std::size_t at = first.size(); at < lines.size();) {
    at += 2;
    const std::size_t stop_at = std::min(lines.find("\r\n", at), lines.size());
    const std::string_view line = lines.substr(at, stop_at - at);
    at = stop_at;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return -1;
    const std::string name = lower(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (name == "transfer-encoding") head.chunked = lower(value).find("chunked") != std::string::npos;
    if (name == "content-length") {
      std::int64_t length = 0;
      const auto [last, bad] = std::from_chars(value.data(), value.data() + value.size(), length);
      if (bad != std::errc() || last != value.data() + value.size() || length < 0) return -1;
      head.length = length;
    }
  }
  return 1;
}

// 1: whole, 0: not yet, -1: malformed (RFC 9112, section 7.1).
int unchunk(std::string_view bytes, std::string* out) {
  for (;;) {
    const std::size_t end = bytes.find("\r\n");
    if (end == std::string_view::npos) return bytes.size() > 1024 ? -1 : 0;
    std::uint32_t size = 0;
    const auto [stop, error] = std::from_chars(bytes.data(), bytes.data() + end, size, 16);
    if (error != std::errc() || (stop != bytes.data() + end && *stop != ';' && *stop != ' ')) return -1;
    bytes.remove_prefix(end + 2);
    if (size == 0) return 1;  // trailers are of no interest
    if (bytes.size() < std::size_t{size} + 2) return 0;
    if (out) out->append(bytes.substr(0, size));
    bytes.remove_prefix(std::size_t{size} + 2);
  }
}

// A response before the one that counts: "100 Continue".
std::string_view without_interim(std::string_view bytes) {
  for (Head head; parse_head(bytes, head) == 1 && head.status < 200;) bytes.remove_prefix(head.size);
  return bytes;
}

bool is_whole(std::string_view bytes) {
  bytes = without_interim(bytes);
  Head head;
  if (parse_head(bytes, head) != 1) return false;
  const std::string_view body = bytes.substr(head.size);
  if (head.chunked) return unchunk(body, nullptr) != 0;
  return head.length >= 0 && body.size() >= static_cast<std::size_t>(head.length);
}

class Work {
 public:
  Work(Exchange& exchange, std::size_t max_bytes, Clock::time_point begun)
      : exchange_(exchange), max_bytes_(max_bytes), begun_(begun) {}

  short events() const { return exchange_.request.empty() ? POLLIN : POLLIN | POLLOUT; }

  void ready(short events) {
    if ((events & POLLOUT) && !exchange_.request.empty()) send();
    if (!exchange_.over && (events & (POLLIN | POLLHUP | POLLERR))) receive();
  }
  void end(std::string why) {
    exchange_.over = true;
    exchange_.why = std::move(why);
    exchange_.ms = std::chrono::duration<double, std::milli>(Clock::now() - begun_).count();
  }

 private:
  void send() {
    const ssize_t n = ::send(exchange_.fd, exchange_.request.data(), exchange_.request.size(), MSG_NOSIGNAL);
    if (n > 0) return void(exchange_.request.erase(0, static_cast<std::size_t>(n)));
    if (errno == EAGAIN || errno == EINTR) return;
    // It may have answered before it had read all: what it said is still there to be received.
    exchange_.request.clear();
  }
  void receive() {
    char buffer[65536];
    const ssize_t n = ::recv(exchange_.fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      if (is_whole(exchange_.answer) || ends_with_connection()) return end({});
      return end(exchange_.answer.empty() ? "it closed the connection without an answer"
                                          : "it closed the connection in the middle of its answer");
    }
    exchange_.answer.append(buffer, static_cast<std::size_t>(n));
    if (exchange_.answer.size() > max_bytes_)
      return end("its answer is larger than " + std::to_string(max_bytes_) + " bytes");
    if (is_whole(exchange_.answer)) end({});
  }
  bool ends_with_connection() const {
    const std::string_view bytes = without_interim(exchange_.answer);
    Head head;
    return parse_head(bytes, head) == 1 && !head.chunked && head.length < 0;
  }

  Exchange& exchange_;
  std::size_t max_bytes_;
  Clock::time_point begun_;
};

}  // namespace

std::string request_text(std::string_view method, std::string_view path, std::string_view body,
                         const std::vector<std::pair<std::string_view, std::string>>& headers) {
  std::string text =
      std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: hatch\r\nConnection: close\r\n";
  for (const auto& [name, value] : headers) text += std::string(name) + ": " + hatch::printable(value) + "\r\n";
  if (method != "GET")
    text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  text += "\r\n";
  text += body;
  return text;
}

void perform(const hatch::Run& run, std::vector<Exchange>& exchanges, std::chrono::milliseconds limit,
             std::size_t max_bytes) {
  const Clock::time_point begun = Clock::now(), until = begun + limit;
  std::vector<Work> works;
  works.reserve(exchanges.size());
  for (Exchange& exchange : exchanges) works.emplace_back(exchange, max_bytes, begun);
  for (;;) {
    std::vector<pollfd> entries;
    std::vector<std::size_t> of;
    for (std::size_t i = 0; i < exchanges.size(); ++i) {
      if (exchanges[i].over) continue;
      entries.push_back({exchanges[i].fd, works[i].events(), 0});
      of.push_back(i);
    }
    if (entries.empty()) return;
    entries.push_back({run.cancel_fd(), POLLIN, 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) {
      for (const std::size_t i : of) works[i].end("it did not answer within " + std::to_string(limit.count()) + " ms");
      return;
    }
    const int n = ::poll(entries.data(), entries.size(), static_cast<int>(std::min<std::int64_t>(left, 1 << 30)));
    if (n < 0 && errno != EINTR) throw std::runtime_error("poll: " + std::string(std::strerror(errno)));
    if (n <= 0) continue;
    if (entries.back().revents) throw hatch::Cancelled{};
    for (std::size_t k = 0; k < of.size(); ++k)
      if (entries[k].revents) works[of[k]].ready(entries[k].revents);
  }
}

bool parse_response(std::string_view bytes, Response& out) {
  bytes = without_interim(bytes);
  Head head;
  if (parse_head(bytes, head) != 1) return false;
  out.status = head.status;
  out.body.clear();
  const std::string_view body = bytes.substr(head.size);
  if (head.chunked) return unchunk(body, &out.body) == 1;
  if (head.length >= 0 && body.size() < static_cast<std::size_t>(head.length)) return false;
  out.body = head.length >= 0 ? body.substr(0, static_cast<std::size_t>(head.length)) : body;
  return true;
}

}  // namespace app
