#include "schema/words.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <regex>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "hatch/json.hpp"

namespace json = boost::json;

namespace hatchd::schema {
namespace {

constexpr std::size_t max_segment = 200;
constexpr std::size_t max_quoted = 80;
constexpr std::size_t max_listed = 30;
constexpr std::size_t max_word = 64;

// At most `limit` bytes, never through the middle of a code point.
std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return text.substr(0, limit);
}

// Optimal string alignment: insertions, deletions, replacements and swapped neighbours cost one each.
std::size_t distance(std::string_view a, std::string_view b) {
  std::array<std::array<std::size_t, max_word + 1>, 3> rows{};
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto& row = rows[i % 3];
    const auto& above = rows[(i + 2) % 3];
    const auto& two_above = rows[(i + 1) % 3];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], two_above[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

// x86's 80 bits and AArch64's 128 both hold every 64-bit integer exactly.
long double exact(const json::value& value) {
  if (value.is_int64()) return static_cast<long double>(value.get_int64());
  if (value.is_uint64()) return static_cast<long double>(value.get_uint64());
  return static_cast<long double>(value.get_double());
}

// __polynomial chooses the breadth-first executor, which neither backtracks nor recurses with the text.
std::regex compile(const std::string& pattern) {
  auto flags = std::regex::ECMAScript;
#ifdef __GLIBCXX__
  flags |= std::regex_constants::__polynomial;
#endif
  return std::regex(pattern, flags);
}

}  // namespace

void append_segment(std::string& pointer, std::string_view segment) {
  const std::string_view kept = cut(segment, max_segment);
  pointer += '/';
  for (const char c : kept) {
    if (c == '~')
      pointer += "~0";
    else if (c == '/')
      pointer += "~1";
    else
      pointer += c;
  }
  if (kept.size() < segment.size()) pointer += "…";
}

std::string child(std::string_view pointer, std::string_view segment) {
  std::string result(pointer);
  append_segment(result, segment);
  return result;
}

std::string child(std::string_view pointer, std::size_t index) { return child(pointer, std::to_string(index)); }

std::string nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.size() > max_word) return {};
  const std::size_t allowed = word.size() <= 3 ? 1 : word.size() <= 7 ? 2 : 3;
  std::size_t best = allowed + 1;
  std::string_view found;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > max_word) continue;
    const std::size_t d = distance(word, candidate);
    if (d < best && d < candidate.size()) {
      best = d;
      found = candidate;
    }
  }
  return std::string(found);
}

std::string quoted(const json::value& value) {
  // A large value is not written out only to be cut.
  if (value.is_object()) return "{…}";
  if (value.is_array()) return value.get_array().empty() ? "[]" : "[…]";
  if (!value.is_string()) return json::serialize(value);
  const std::string_view text = value.get_string();
  const std::string_view kept = cut(text, max_quoted);
  std::string out;
  hatch::append_quoted(out, kept);
  if (kept.size() < text.size()) out.insert(out.size() - 1, "…");
  return out;
}

std::string quoted_list(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i == max_listed) return out + ", …";
    if (i > 0) out += ", ";
    hatch::append_quoted(out, cut(words[i], max_quoted));
  }
  return out;
}

std::string quoted_list(const json::array& values) {
  std::string out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i == max_listed) return out + ", …";
    if (i > 0) out += ", ";
    out += quoted(values[i]);
  }
  return out;
}

std::size_t code_points(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) hatch::next_code_point(text, at);
  return count;
}

std::partial_ordering compare_numbers(const json::value& a, const json::value& b) { return exact(a) <=> exact(b); }

bool same(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  return a == b;
}

bool is_whole(const json::value& value) {
  if (value.is_int64() || value.is_uint64()) return true;
  return value.is_double() && std::isfinite(value.get_double()) && std::trunc(value.get_double()) == value.get_double();
}

std::string scalar_text(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_object() || value.is_array()) return {};
  if (value.is_double() && is_whole(value) && std::abs(value.get_double()) < 9e18)
    return std::to_string(static_cast<std::int64_t>(value.get_double()));
  return json::serialize(value);
}

bool matches(const std::string& pattern, std::string_view text) {
  try {
    return std::regex_match(text.begin(), text.end(), compile(pattern));
  } catch (const std::regex_error&) {
    return false;
  }
}

bool compiles(const std::string& pattern) {
  try {
    compile(pattern);
    return true;
  } catch (const std::regex_error&) {
    return false;
  }
}

}  // namespace hatchd::schema
