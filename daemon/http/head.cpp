#include "http/head.hpp"

#include <cstdio>
#include <ctime>

#include "http/text.hpp"

namespace hatchd::http {
namespace {

// RFC 9110, section 5.6.7; made once a second.
const std::string& date_now() {
  thread_local std::time_t at = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != at || text.empty()) {
    static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[utc.tm_wday], utc.tm_mday,
                  months[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
    text = buffer;
    at = now;
  }
  return text;
}

void append_field(std::string& head, std::string_view name, std::string_view value) {
  (head += name) += ": ";
  const std::size_t begin = head.size();
  head += value;
  // A line break in a value would begin a header, or a body, of somebody else's choice.
  for (std::size_t at = begin; at < head.size(); ++at)
    if ((static_cast<unsigned char>(head[at]) < 0x20 && head[at] != '\t') || head[at] == 0x7F) head[at] = ' ';
  head += "\r\n";
}

}  // namespace

std::string head_of(const Request& request, const Response& response, const Framing& framing, std::string_view reason) {
  std::string head;
  head.reserve(512);
  head = framing.http11 ? "HTTP/1.1 " : "HTTP/1.0 ";
  head += std::to_string(response.status);
  ((head += ' ') += reason) += "\r\n";

  bool cache_control = false;
  for (const auto& [name, value] : response.headers) {
    cache_control = cache_control || same(name, "cache-control");
    append_field(head, name, value);
  }
  ((head += "Date: ") += date_now()) += "\r\n";
  if (!cache_control) head += "Cache-Control: no-store\r\n";
  head += "X-Content-Type-Options: nosniff\r\nX-Robots-Tag: noindex\r\nHatchd-Request-Id: ";
  (head += request.id) += "\r\n";

  const bool has_length =
      !response.stream && response.status >= 200 && response.status != 204 && response.status != 304;
  if (has_length)
    append_field(head, "Content-Length", std::to_string(response.file ? response.file_bytes : response.body.size()));
  if (framing.chunked) append_field(head, "Transfer-Encoding", "chunked");
  if (!framing.keep_alive)
    append_field(head, "Connection", "close");
  else if (!framing.http11)
    append_field(head, "Connection", "keep-alive");
  head += "\r\n";
  return head;
}

}  // namespace hatchd::http
