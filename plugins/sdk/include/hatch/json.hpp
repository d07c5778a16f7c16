// json.hpp: writes JSON, so that a hatch needs no JSON library for its answer.
//
// SPDX-License-Identifier: MIT
//
// Object and Array append to a string; nothing is kept as a tree, so a large answer costs its text and no more.
// What a target or a peer says may hold anything: bytes that are not UTF-8 become U+FFFD, so the text is always valid.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hatch {

// Reads one code point at `at` (which is < text.size()) and moves `at` behind it. An invalid, overlong or surrogate
// sequence yields U+FFFD and moves by one byte (Unicode 15, table 3-7).
inline char32_t next_code_point(std::string_view text, std::size_t& at) {
  constexpr char32_t bad = 0xFFFD;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || at + static_cast<std::size_t>(more) > text.size()) return bad;
  char32_t point = first & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(at + static_cast<std::size_t>(i)) & 0xC0) != 0x80) return bad;
    point = point << 6 | (byte(at + static_cast<std::size_t>(i)) & 0x3F);
  }
  if ((more == 2 && (point < 0x800 || (point >= 0xD800 && point <= 0xDFFF))) ||
      (more == 3 && (point < 0x10000 || point > 0x10FFFF)))
    return bad;
  at += static_cast<std::size_t>(more);
  return point;
}

// How much from `at` on is ASCII that means nothing in a JSON string and nothing to a terminal: printable, and neither a
// quote nor a backslash.
inline std::size_t ordinary_ascii(std::string_view text, std::size_t at) {
  const std::size_t begin = at;
  while (at < text.size() && text[at] >= 0x20 && text[at] < 0x7F && text[at] != '"' && text[at] != '\\') ++at;
  return at - begin;
}

// Appends `text` as a JSON string with its quotes (RFC 8259, section 7).
inline void append_quoted(std::string& out, std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  out += '"';
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t ordinary = ordinary_ascii(text, at); ordinary > 0) {  // nearly always all of it
      out.append(text, at, ordinary);
      at += ordinary;
      continue;
    }
    const std::size_t begin = at;
    const char32_t point = next_code_point(text, at);
    switch (point) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case 0xFFFD: out += "\xEF\xBF\xBD"; break;
      default:
        // C1 controls are legal in JSON but reach terminals raw through `jq -r`: escape them like C0.
        if (point < 0x20 || (point >= 0x7F && point < 0xA0)) {
          out += "\\u00";
          out += hex[point >> 4 & 15];
          out += hex[point & 15];
        } else {
          out += text.substr(begin, at - begin);
        }
    }
  }
  out += '"';
}

inline void append_code_point(std::string& out, char32_t point) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  const auto tail = [&](int shift) { put(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) return put(0xC0 | point >> 6), tail(0);
  if (point < 0x10000) return put(0xE0 | point >> 12), tail(6), tail(0);
  put(0xF0 | point >> 18), tail(12), tail(6), tail(0);
}

// Reads the JSON string that begins at `at` with its quote, appends its text to `out` and moves `at` behind it. False
// when there is no whole string. Half of a surrogate pair becomes U+FFFD.
inline bool read_quoted(std::string_view text, std::size_t& at, std::string& out) {
  const auto hex4 = [&](char32_t& value) {
    unsigned read = 0;
    const char* begin = text.data() + at;
    if (at + 4 > text.size() || std::from_chars(begin, begin + 4, read, 16).ptr != begin + 4) return false;
    at += 4;
    value = read;
    return true;
  };
  if (at >= text.size() || text[at] != '"') return false;
  for (++at; at < text.size();) {
    const char c = text[at++];
    if (c == '"') return true;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at >= text.size()) return false;
    switch (const char escaped = text[at++]) {
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case 'r': out += '\r'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'u': {
        char32_t point = 0, low = 0;
        if (!hex4(point)) return false;
        if (point >= 0xD800 && point < 0xDC00 && text.substr(at, 2) == "\\u") {
          const std::size_t back = at;
          at += 2;
          if (!hex4(low)) return false;
          if (low >= 0xDC00 && low < 0xE000)
            point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
          else
            at = back;  // not its other half: read it by itself
        }
        append_code_point(out, point >= 0xD800 && point < 0xE000 ? char32_t{0xFFFD} : point);
        break;
      }
      default: out += escaped;
    }
  }
  return false;
}

// What a terminal may show of hostile text: controls (C0, DEL, C1), bidirectional overrides and invalid bytes become
// U+FFFD, so that no name can move the cursor or hide a line. With `lines`, newline and tab stay.
inline std::string printable(std::string_view text, bool lines = false) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t ordinary = ordinary_ascii(text, at); ordinary > 0) {
      out.append(text, at, ordinary);
      at += ordinary;
      continue;
    }
    const std::size_t begin = at;
    const char32_t point = next_code_point(text, at);
    const bool control = point < 0x20 || (point >= 0x7F && point < 0xA0);
    const bool bidi = point == 0x061C || point == 0x200E || point == 0x200F || (point >= 0x202A && point <= 0x202E) ||
                      (point >= 0x2066 && point <= 0x2069) || point == 0x2028 || point == 0x2029;
    const bool kept = lines && (point == '\n' || point == '\t');
    if ((control && !kept) || bidi || point == 0xFFFD)
      out += "\xEF\xBF\xBD";
    else
      out += text.substr(begin, at - begin);
  }
  return out;
}

// JSON text that is inserted as it is. The caller vouches that it is valid.
struct Raw {
  std::string_view text;
};

class Object;
class Array;

namespace detail {
inline void append_value(std::string& out, std::nullptr_t) { out += "null"; }
inline void append_value(std::string& out, Raw raw) { out += raw.text; }
template <std::same_as<bool> B>
void append_value(std::string& out, B value) {
  out += value ? "true" : "false";
}
template <class N>
requires((std::integral<N> && !std::same_as<N, bool>) || std::floating_point<N>) void append_value(std::string& out,
                                                                                                   N value) {
  if constexpr (std::floating_point<N>)
    if (!std::isfinite(value)) {  // JSON has no such number
      out += "null";
      return;
    }
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}
inline void append_value(std::string& out, std::string_view value) { append_quoted(out, value); }
inline void append_value(std::string& out, const std::string& value) { append_quoted(out, value); }
inline void append_value(std::string& out, const char* value) { append_quoted(out, value); }
inline void append_value(std::string& out, const Object& value);
inline void append_value(std::string& out, const Array& value);
template <class T>
void append_value(std::string& out, const std::optional<T>& value) {
  if (value)
    append_value(out, *value);
  else
    out += "null";
}
}  // namespace detail

// Milliseconds with three digits behind the point, the resolution of everything hatchd times.
inline double rounded_ms(double ms) { return std::round(ms * 1000.0) / 1000.0; }

class Object {
 public:
  template <class T>
  Object& add(std::string_view name, const T& value) {
    if (!members_.empty()) members_ += ',';
    append_quoted(members_, name);
    members_ += ':';
    detail::append_value(members_, value);
    return *this;
  }
  // Only where there is something to say: an absent member reads better than a null.
  template <class T>
  Object& add_if(std::string_view name, const std::optional<T>& value) {
    return value ? add(name, *value) : *this;
  }
  bool empty() const { return members_.empty(); }
  std::string json() const { return '{' + members_ + '}'; }
  void append_to(std::string& out) const { ((out += '{') += members_) += '}'; }

 private:
  std::string members_;
};

class Array {
 public:
  template <class T>
  Array& add(const T& value) {
    if (!elements_.empty()) elements_ += ',';
    detail::append_value(elements_, value);
    return *this;
  }
  bool empty() const { return elements_.empty(); }
  std::string json() const { return '[' + elements_ + ']'; }
  void append_to(std::string& out) const { ((out += '[') += elements_) += ']'; }

 private:
  std::string elements_;
};

namespace detail {
inline void append_value(std::string& out, const Object& value) { value.append_to(out); }
inline void append_value(std::string& out, const Array& value) { value.append_to(out); }
}  // namespace detail

}  // namespace hatch
