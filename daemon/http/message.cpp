#include "http/message.hpp"

#include "hatch/json.hpp"

namespace hatchd::http {
namespace {

constexpr std::size_t max_form_fields = 256;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    // U+FFFD itself takes three bytes; one that stands for an invalid byte takes one.
    if (hatch::next_code_point(text, at) == 0xFFFD && at - begin == 1) return false;
  }
  return true;
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

std::optional<std::string_view> Request::query_value(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return {};
}

Response text_response(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.body = std::move(body);
  if (!response.body.ends_with('\n')) response.body += '\n';
  response.header("Content-Type", "text/plain; charset=utf-8");
  return response;
}

Response json_response(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.body = std::move(body);
  if (!response.body.ends_with('\n')) response.body += '\n';
  response.header("Content-Type", "application/json");
  return response;
}

Format default_format(std::string_view path) {
  const bool api = path == "/v1" || path.starts_with("/v1/") || path == "/openapi.json";
  return api ? Format::json : Format::text;
}

std::optional<std::string> url_decode(std::string_view text, bool form) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return {};
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += form && text[i] == '+' ? ' ' : text[i];
    }
    if (out.back() == '\0') return {};
  }
  if (!is_utf8(out)) return {};
  return out;
}

Result<Fields> parse_form(std::string_view text) {
  Fields fields;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (pair.empty()) continue;
    if (fields.size() == max_form_fields)
      return refuse("malformed", "there are more than " + std::to_string(max_form_fields) + " parameters");
    const std::size_t equals = pair.find('=');
    auto name = url_decode(pair.substr(0, equals), true);
    auto value = equals == pair.npos ? std::string() : url_decode(pair.substr(equals + 1), true);
    if (!name || !value)
      return refuse("malformed", "a parameter holds a broken %-escape, a NUL byte or bytes that are not UTF-8",
                    "with curl use --data-urlencode NAME=VALUE");
    fields.emplace_back(std::move(*name), std::move(*value));
  }
  return fields;
}

}  // namespace hatchd::http
