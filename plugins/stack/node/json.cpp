#include "stack/node/json.hpp"

#include <charconv>

#include "hatch/json.hpp"

namespace stack::node {
namespace {

void skip_blanks(std::string_view text, std::size_t& at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) ++at;
}

// Moves behind the string that begins at `at`; false: it does not end.
bool skip_string(std::string_view text, std::size_t& at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\')
      ++at;
    else if (text[at] == '"')
      return ++at, true;
  }
  return false;
}

// Moves behind the value that begins at `at`. Brackets are counted, not matched: a value with the wrong ones is still
// one stretch of text, in which nothing will be found.
bool skip_value(std::string_view text, std::size_t& at) {
  const std::size_t begin = at;
  for (std::size_t depth = 0; at < text.size();) {
    switch (text[at]) {
      case '"':
        if (!skip_string(text, at)) return false;
        break;
      case '{':
      case '[': ++depth, ++at; break;
      case '}':
      case ']':
        if (depth == 0) return at > begin;
        --depth, ++at;
        break;
      case ',':
        if (depth == 0) return at > begin;
        ++at;
        continue;
      default: ++at; continue;
    }
    if (depth == 0) return true;
  }
  return false;
}

}  // namespace

bool each_member(std::string_view text,
                 const std::function<bool(std::string_view name, std::string_view value)>& visit) {
  std::size_t at = 0;
  skip_blanks(text, at);
  if (at >= text.size() || text[at] != '{') return false;
  ++at;
  for (;;) {
    skip_blanks(text, at);
    if (at < text.size() && text[at] == '}') return true;
    const std::size_t name = at;
    if (at >= text.size() || text[at] != '"' || !skip_string(text, at)) return false;
    const std::string_view spelled = text.substr(name + 1, at - name - 2);
    skip_blanks(text, at);
    if (at >= text.size() || text[at] != ':') return false;
    ++at;
    skip_blanks(text, at);
    const std::size_t value = at;
    if (!skip_value(text, at)) return false;
    if (!visit(spelled, text.substr(value, at - value))) return true;
    skip_blanks(text, at);
    if (at < text.size() && text[at] == ',') ++at;
  }
}

bool each_element(std::string_view text, const std::function<bool(std::string_view value)>& visit) {
  std::size_t at = 0;
  skip_blanks(text, at);
  if (at >= text.size() || text[at] != '[') return false;
  ++at;
  for (;;) {
    skip_blanks(text, at);
    if (at < text.size() && text[at] == ']') return true;
    const std::size_t value = at;
    if (!skip_value(text, at)) return false;
    if (!visit(text.substr(value, at - value))) return true;
    skip_blanks(text, at);
    if (at < text.size() && text[at] == ',') ++at;
  }
}

std::string_view member(std::string_view object, std::string_view name) {
  std::string_view found;
  each_member(object, [&](std::string_view spelled, std::string_view value) {
    if (spelled != name) return true;
    found = value;
    return false;
  });
  return found;
}

std::string text_of(std::string_view value, std::size_t limit) {
  std::string text;
  std::size_t at = 0;
  if (value.empty() || value[0] != '"' || !hatch::read_quoted(value, at, text)) return {};
  if (text.size() > limit) text.resize(limit);
  return text;
}

std::optional<std::int64_t> number_of(std::string_view value) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end == value.data()) return std::nullopt;
  return number;
}

}  // namespace stack::node
