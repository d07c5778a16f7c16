#include "http/strict.hpp"

#include <algorithm>
#include <cctype>

#include "http/text.hpp"

namespace hatchd::http {
namespace {

bool is_host(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-._~:[]%").find(c) != std::string_view::npos;
  });
}

}  // namespace

// Line structure of a header block that ends with an empty line. Two readers that disagree about where a line ends are
// how requests are smuggled (RFC 9112, section 11.2), so only the strict form passes.
const char* fault_of_lines(std::string_view head) {
  for (std::size_t i = 0; i < head.size(); ++i) {
    const auto c = static_cast<unsigned char>(head[i]);
    if (c == '\r' ? i + 1 == head.size() || head[i + 1] != '\n' : c == '\n' && (i == 0 || head[i - 1] != '\r'))
      return "a line does not end with CR LF";
    if (c == '\n' && i + 1 < head.size() && (head[i + 1] == ' ' || head[i + 1] == '\t'))
      return "a header is folded over several lines";
    if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7F) return "the header holds control characters";
  }
  return nullptr;
}

// What can be told from the first bytes, so that nobody waits for the end of a header that does not come.
const char* fault_of_start(std::string_view bytes, std::size_t from) {
  if (bytes.empty()) return nullptr;
  if (bytes[0] == '\x16') return "this is a TLS handshake, and plain HTTP is spoken here";
  if (!std::isalpha(static_cast<unsigned char>(bytes[0])) && bytes[0] != '\r') return "this is not HTTP";
  const std::size_t newline = bytes.find('\n', from);
  if (newline != bytes.npos && (newline == 0 || bytes[newline - 1] != '\r')) return "a line does not end with CR LF";
  return nullptr;
}

// Fields that say where a message ends, or whom it is for, must say it once and plainly (RFC 9112,
// sections 3.2, 6.1, 6.3).
const char* fault_of_fields(const Fields& fields, bool http11) {
  std::size_t lengths = 0, encodings = 0, hosts = 0;
  for (const auto& [name, value] : fields) {
    if (name == "content-length") {
      ++lengths;
      if (value.empty() || value.find_first_not_of("0123456789") != value.npos) return "Content-Length is not a number";
    } else if (name == "transfer-encoding") {
      ++encodings;
      if (!same(value, "chunked")) return "Transfer-Encoding is not \"chunked\"";
    } else if (name == "host") {
      ++hosts;
      if (!is_host(value)) return "Host is not a host";
    }
  }
  if (lengths > 1) return "there is more than one Content-Length";
  if (encodings > 1) return "there is more than one Transfer-Encoding";
  if (lengths && encodings) return "there are both Content-Length and Transfer-Encoding";
  if (encodings && !http11) return "HTTP/1.0 has no Transfer-Encoding";
  if (hosts > 1) return "there is more than one Host";
  if (hosts == 0 && http11) return "Host is missing";
  return nullptr;
}

// Splits the request target. Absolute form ("http://h/livez") is for proxies, and a server takes it too (RFC 9112,
// section 3.2.2); its host must be that of Host, or two readers would disagree about whom the request is for.
const char* fault_of_target(Request& request) {
  std::string_view target = request.target;
  const std::string scheme = lower(target.substr(0, 8));
  if (scheme.starts_with("http://") || scheme.starts_with("https://")) {
    target.remove_prefix(target.find("//") + 2);
    const std::size_t end = target.find_first_of("/?");
    if (!same(target.substr(0, end), request.header("host")))
      return "the host of the address is not that of the Host header";
    target.remove_prefix(end == target.npos ? target.size() : end);
    if (target.empty() || target[0] == '?') request.path = "/";
  } else if (target == "*" && request.method == "OPTIONS") {
    request.path = "*";
    return nullptr;
  } else if (!target.starts_with('/')) {
    return "the address does not begin with /";
  }
  if (target.find('#') != target.npos) return "the address holds a fragment";

  const std::size_t question = target.find('?');
  const std::string_view raw_path = target.substr(0, question);
  // Segments are split after decoding, and no name holds a slash.
  if (lower(raw_path).find("%2f") != std::string::npos) return "the path holds an encoded slash";
  const auto path = url_decode(raw_path, false);
  if (!path ||
      std::any_of(path->begin(), path->end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
    return "the path holds a broken %-escape, a control character or bytes that are not UTF-8";
  if (!path->empty()) request.path = *path;
  if (question != target.npos) {
    auto query = parse_form(target.substr(question + 1));
    if (!query) return "the query cannot be decoded";
    request.query = std::move(*query);
  }
  return nullptr;
}

}  // namespace hatchd::http
