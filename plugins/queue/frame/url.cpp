#include "queue/frame/url.hpp"

#include <algorithm>
#include <charconv>

#include "queue/frame/trouble.hpp"

namespace queue {
namespace {

constexpr std::size_t max_url = 4096, max_urls = 16;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    const int high = at + 2 < text.size() ? hex_digit(text[at + 1]) : -1;
    const int low = at + 2 < text.size() ? hex_digit(text[at + 2]) : -1;
    if (high < 0 || low < 0) throw Trouble("its address has a % without two hexadecimal digits behind it");
    out += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return out;
}

// Cuts `text` at the first of `marks`: what is before it is the answer, `text` becomes what is behind it.
std::string_view cut(std::string_view& text, std::string_view marks, char& mark) {
  const std::size_t at = text.find_first_of(marks);
  const std::string_view before = text.substr(0, at);
  mark = at == text.npos ? '\0' : text[at];
  text = at == text.npos ? std::string_view{} : text.substr(at + 1);
  return before;
}

void read_host(std::string_view text, Url& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == text.npos) throw Trouble("its address has a [ without a ]");
    url.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':') throw Trouble("its address has text behind the ]");
  } else {
    const std::size_t colon = text.find(':');
    url.host = decoded(text.substr(0, colon));
    if (colon != text.npos) port = text.substr(colon);
  }
  if (port.size() < 2) return;
  port.remove_prefix(1);
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535)
    throw Trouble("its address has something else than a port from 1 to 65535 behind the host",
                  "write a / ? # or @ within a user or password as %2F %3F %23 or %40");
  url.port = static_cast<std::uint16_t>(number);
}

void read_query(std::string_view text, Url& url) {
  while (!text.empty()) {
    char mark = 0;
    std::string_view value = cut(text, "&", mark);
    const std::string_view name = cut(value, "=", mark);
    url.query.emplace(decoded(name), decoded(value));
  }
}

}  // namespace

Url parse_url(std::string_view text) {
  if (text.size() > max_url) throw Trouble("its address is longer than 4096 bytes");
  Url url;
  const std::size_t colon = text.find("://");
  if (colon == text.npos || colon == 0) throw Trouble("its address is no URL: it has no \"scheme://\"");
  for (const char c : text.substr(0, colon)) {
    const bool fits =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
    if (!fits) throw Trouble("its address is no URL: it does not begin with a scheme");
    url.scheme += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  text.remove_prefix(colon + 3);
  char mark = 0;
  std::string_view authority = cut(text, "/?#", mark);
  if (const std::size_t at = authority.rfind('@'); at != authority.npos) {
    std::string_view user = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    char divider = 0;
    url.user = decoded(cut(user, ":", divider));
    url.password = decoded(user);
  } else if (text.find('@') != text.npos) {
    // Then what looked like the host is a piece of a password.
    throw Trouble("its address has an @ behind its first / ? or #",
                  "write a / ? # or @ within a user or password as %2F %3F %23 or %40");
  }
  read_host(authority, url);
  if (mark == '/') {
    url.has_path = true;
    url.path = decoded(cut(text, "?#", mark));
  }
  if (mark == '?') read_query(cut(text, "#", mark), url);
  return url;
}

std::vector<Url> parse_urls(std::string_view text) {
  std::vector<Url> urls;
  while (!text.empty()) {
    char mark = 0;
    const std::string_view one = cut(text, ";", mark);
    if (one.empty()) continue;
    if (urls.size() == max_urls) throw Trouble("it has more than 16 addresses");
    urls.push_back(parse_url(one));
  }
  if (urls.empty()) throw Trouble("it has no address");
  return urls;
}

std::string Url::masked() const {
  std::string text = scheme + "://";
  if (!user.empty() || !password.empty()) text += user + (password.empty() ? "@" : ":******@");
  text += host.find(':') == host.npos ? host : "[" + host + "]";
  if (port) text += ":" + std::to_string(port);
  if (has_path) text += "/" + path;
  return text;
}

bool Url::is(std::initializer_list<std::string_view> schemes) const {
  return std::find(schemes.begin(), schemes.end(), scheme) != schemes.end();
}

}  // namespace queue
