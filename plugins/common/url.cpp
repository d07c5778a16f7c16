#include "common/url.hpp"

#include <algorithm>

#include "hatch/hatch.hpp"

namespace common {

std::string percent_encoded(std::string_view text) {
  static constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                            c == '.' || c == '_' || c == '~';
    if (unreserved) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += hex[byte >> 4];
    out += hex[byte & 15];
  }
  return out;
}

std::string fill_url(std::string_view url, const std::function<std::optional<std::string>(std::string_view)>& value) {
  const std::size_t question = std::min(url.find('?'), url.size());
  const std::size_t authority = std::min(url.find("://"), url.size());
  const std::size_t path = std::min(url.find('/', std::min(authority + 3, url.size())), question);
  std::string out{url.substr(0, path)};
  for (std::size_t at = path; at < question;) {  // stands on a '/'
    const std::size_t end = std::min(url.find('/', at + 1), question);
    const std::string_view segment = url.substr(at + 1, end - at - 1);
    const std::optional<std::string> filled = value(segment);
    // Encoded or not, servers take dots for the way up.
    if (filled && (filled->empty() || *filled == "." || *filled == ".."))
      throw hatch::Failure("parameter " + std::string(segment.substr(1, segment.size() - 2)) + " is \"" + *filled +
                           "\", which is no segment of a path");
    out += '/' + (filled ? percent_encoded(*filled) : std::string(segment));
    at = end;
  }
  for (std::size_t at = question; at < url.size();) {  // stands on '?' or '&'
    const std::size_t end = std::min(url.find('&', at + 1), url.size());
    const std::string_view pair = url.substr(at + 1, end - at - 1);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    out += url[at];
    out += pair.substr(0, equals);
    if (equals < pair.size()) {
      const std::string_view written = pair.substr(equals + 1);
      const std::optional<std::string> filled = value(written);
      out += '=' + (filled ? percent_encoded(*filled) : std::string(written));
    }
    at = end;
  }
  return out;
}

std::string shown_url(std::string_view url) {
  std::string out{url.substr(0, url.find_first_of("?#"))};
  const std::size_t scheme = out.find("://"), host = scheme == out.npos ? 0 : scheme + 3;
  const std::size_t at = out.substr(0, out.find('/', host)).rfind('@');
  if (at != out.npos && at >= host) out.erase(host, at + 1 - host);
  return out;
}

}  // namespace common
