#include "base/json.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "hatch/json.hpp"

namespace hatchd {

namespace json = boost::json;

std::string text_of(const json::object& object, std::string_view name, std::string_view fallback) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string(fallback);
}

std::int64_t number_of(const json::object& object, std::string_view name, std::int64_t fallback) {
  const json::value* value = object.if_contains(name);
  if (!value) return fallback;
  if (value->is_int64()) return value->get_int64();
  if (value->is_uint64() && value->get_uint64() <= INT64_MAX) return static_cast<std::int64_t>(value->get_uint64());
  return fallback;
}

bool flag_of(const json::object& object, std::string_view name, bool fallback) {
  const json::value* value = object.if_contains(name);
  return value && value->is_bool() ? value->get_bool() : fallback;
}

const json::object* object_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value ? value->if_object() : nullptr;
}

const json::array* array_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value ? value->if_array() : nullptr;
}

std::vector<std::string> texts_of(const json::object& object, std::string_view name) {
  std::vector<std::string> texts;
  if (const json::array* array = array_of(object, name))
    for (const json::value& value : *array)
      if (value.is_string()) texts.emplace_back(value.get_string());
  return texts;
}

namespace {

// A number beyond doubles is read as infinity, which could not be written again.
bool is_finite(const json::value& value) {
  if (value.is_double()) return std::isfinite(value.get_double());
  if (const json::array* array = value.if_array()) return std::all_of(array->begin(), array->end(), is_finite);
  if (const json::object* object = value.if_object())
    return std::all_of(object->begin(), object->end(), [](const auto& member) { return is_finite(member.value()); });
  return true;
}

}  // namespace

Result<json::value> parse_json(std::string_view text, std::string_view code, unsigned max_depth) {
  json::parse_options options;
  options.max_depth = max_depth;
  json::stream_parser parser({}, options);
  json::error_code error;
  const std::size_t read = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);  // refuses what ended too early
  if (!error && text.find_first_not_of(" \t\r\n", read) != std::string_view::npos) error = json::error::extra_data;
  if (!error) {
    json::value value = parser.release();
    if (is_finite(value)) return value;
    return refuse(std::string(code), "not usable JSON: it holds a number that is too large");
  }
  const std::string_view before = text.substr(0, read);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t newline = before.rfind('\n');
  const std::size_t column = newline == std::string_view::npos ? read + 1 : read - newline;
  return refuse(std::string(code), "not valid JSON: line " + std::to_string(line) + ", column " +
                                       std::to_string(column) + ": " + error.message());
}

// ---------------------------------------------------------------------------------------------------------------------
// Pretty printing. One writer serves both forms: the tree walks itself through the same calls that the parser makes.

namespace {

// Nothing in it is to be escaped: ASCII but controls, quotes and backslashes. Eight bytes at a time, since nearly all text
// is of this kind, and there may be megabytes of it.
bool is_plain(std::string_view text) {
  constexpr std::uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
  const auto has_zero = [](std::uint64_t word) { return (word - ones) & ~word & high; };
  for (; text.size() >= sizeof(std::uint64_t); text.remove_prefix(sizeof(std::uint64_t))) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    const std::uint64_t below_blank = (word - ones * 0x20) & ~word & high;
    if ((word & high) | below_blank | has_zero(word ^ ones * '"') | has_zero(word ^ ones * '\\') |
        has_zero(word ^ ones * 0x7F))
      return false;
  }
  return hatch::ordinary_ascii(text, 0) == text.size();
}

// A JSON string in which nothing can turn or hide what a terminal shows: DEL, C1 and changes of direction are escaped,
// beside what must be. To a parser it is the same string.
void append_string(std::string& out, std::string_view text) {
  if (is_plain(text)) {
    ((out += '"') += text) += '"';
    return;
  }
  const std::size_t begin = out.size();
  hatch::append_quoted(out, text);
  if (out.find_first_of("\x7F\xC2\xD8\xE2", begin) == out.npos) return;  // the first bytes of all of those
  const std::string quoted = out.substr(begin);
  out.resize(begin);
  for (std::size_t at = 0; at < quoted.size();) {
    const std::size_t start = at;
    const char32_t point = hatch::next_code_point(quoted, at);
    const std::string_view piece = std::string_view(quoted).substr(start, at - start);
    if (point < 0x7F || hatch::printable(piece) == piece) {
      out += piece;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(point & 0xFFFF));
      out += escape;
    }
  }
}

// Lays out JSON as it is told of it. Arrays of scalars that fit stay on one line: an array is written compactly at
// first, and rewritten by lines as soon as it turns out to be long or to hold a container.
class Layout {
 public:
  enum class Form { lines, compact };
  static constexpr std::size_t unbounded = SIZE_MAX;

  explicit Layout(unsigned indent, Form form = Form::lines, std::size_t max = unbounded)
      : compact_(form == Form::compact), max_(max), base_(indent) {}

  // So much is likely to come.
  void expect(std::size_t bytes) { out_.reserve(bytes); }

  // Too long: what comes from here on is not written.
  bool over() const { return out_.size() > max_; }

  void begin(bool object) {
    if (over()) return;
    before_value();
    if (!levels_.empty() && !levels_.back().object) spread(levels_.back());
    levels_.push_back({object, 0, out_.size() + 1, object && !compact_, {}});
    out_ += object ? '{' : '[';
  }
  void end() {
    if (over()) return;
    const Level level = std::move(levels_.back());
    levels_.pop_back();
    if (level.count > 0 && level.lines) line();
    out_ += level.object ? '}' : ']';
  }
  void key(std::string_view text) {
    if (over()) return;
    separate();
    append_string(out_, text);
    out_ += ": ";
    after_key_ = true;
  }
  void scalar(std::string_view text) {
    if (over()) return;
    before_value();
    out_ += text;
    after_scalar();
  }
  void text(std::string_view value) {
    if (over()) return;
    before_value();
    append_string(out_, value);
    after_scalar();
  }
  std::string take() { return std::move(out_); }

 private:
  static constexpr std::size_t max_line = 100;
  struct Level {
    bool object;
    std::size_t count;
    std::size_t begin;                  // offset behind the opening bracket
    bool lines;                         // one element a line
    std::vector<std::size_t> elements;  // offsets of the elements of a compact array
  };

  void line() {
    static constexpr std::string_view usual = "\n                                        ";
    const std::size_t indent = 2 * (base_ + levels_.size());
    if (indent < usual.size())
      out_ += usual.substr(0, 1 + indent);
    else
      out_.append("\n").append(indent, ' ');
  }
  void before_value() {
    if (std::exchange(after_key_, false) || levels_.empty()) return;
    separate();
  }
  void separate() {
    Level& level = levels_.back();
    if (level.lines) {
      if (level.count > 0) out_ += ',';
      line();
    } else {
      if (level.count > 0) out_ += ", ";
      if (!compact_) level.elements.push_back(out_.size());
    }
    ++level.count;
  }
  void after_scalar() {
    if (levels_.empty()) return;
    Level& level = levels_.back();
    if (!level.object && out_.size() - level.begin > max_line) spread(level);
  }
  // Turns the compact array at the end of the text into one with an element a line.
  void spread(Level& level) {
    if (level.lines || compact_) return;
    level.lines = true;
    const std::string compact = out_.substr(level.begin);
    const std::size_t from = level.begin;
    out_.resize(from);
    for (std::size_t i = 0; i < level.elements.size(); ++i) {
      const std::size_t start = level.elements[i] - from;
      const bool last = i + 1 == level.elements.size();
      const std::size_t stop = last ? compact.size() : level.elements[i + 1] - from - 2;
      if (i > 0) out_ += ',';
      line();
      out_.append(compact, start, stop - start);
    }
    level.elements.clear();
  }

  std::string out_;
  bool compact_;
  std::size_t max_;
  unsigned base_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

void lay_out(Layout& layout, const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      layout.begin(true);
      for (const auto& [name, member] : value.get_object()) {
        layout.key(name);
        lay_out(layout, member);
      }
      layout.end();
      break;
    case json::kind::array:
      layout.begin(false);
      for (const json::value& element : value.get_array()) lay_out(layout, element);
      layout.end();
      break;
    case json::kind::string: layout.text(value.get_string()); break;
    default: layout.scalar(json::serialize(value));
  }
}

// What Boost.JSON's parser calls for each token (json::basic_parser, "handler").
struct Relay {
  static constexpr std::size_t max_object_size = SIZE_MAX, max_array_size = SIZE_MAX;
  static constexpr std::size_t max_key_size = SIZE_MAX, max_string_size = SIZE_MAX;

  Relay(unsigned indent, Layout::Form form, std::size_t max) : layout(indent, form, max) {}
  Layout layout;
  std::string pieces;  // of a key, string or number that comes in parts

  // With the last part of it.
  std::string_view whole(json::string_view part) {
    return pieces.empty() ? std::string_view(part.data(), part.size()) : std::string_view(pieces += part);
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return layout.begin(true), true; }
  bool on_object_end(std::size_t, json::error_code&) { return layout.end(), true; }
  bool on_array_begin(json::error_code&) { return layout.begin(false), true; }
  bool on_array_end(std::size_t, json::error_code&) { return layout.end(), true; }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) { return pieces += part, true; }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    layout.key(whole(part));
    return pieces.clear(), true;
  }
  bool on_string_part(json::string_view part, std::size_t, json::error_code&) { return pieces += part, true; }
  bool on_string(json::string_view part, std::size_t, json::error_code&) {
    layout.text(whole(part));
    return pieces.clear(), true;
  }
  bool on_number_part(json::string_view part, json::error_code&) { return pieces += part, true; }
  bool number(json::string_view part) {
    layout.scalar(whole(part));
    return pieces.clear(), true;
  }
  bool on_int64(std::int64_t, json::string_view part, json::error_code&) { return number(part); }
  bool on_uint64(std::uint64_t, json::string_view part, json::error_code&) { return number(part); }
  bool on_double(double, json::string_view part, json::error_code&) { return number(part); }
  bool on_bool(bool value, json::error_code&) { return layout.scalar(value ? "true" : "false"), true; }
  bool on_null(json::error_code&) { return layout.scalar("null"), true; }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }
};

// JSON text, validated and laid out. What exceeds `max` by lines comes compactly, which cannot exceed the text by more
// than its separators and escapes: indentation, at a great depth, is most of such a text and helps nobody to read it.
Result<std::string> lay_out(std::string_view text, unsigned indent, std::string_view code, Layout::Form form,
                            std::size_t max) {
  json::parse_options options;
  options.max_depth = 128;  // of what was checked before (link::verdict_of), with a run and a problem around it
  json::basic_parser<Relay> parser(options, indent, form, max);
  parser.handler().layout.expect(2 * text.size());
  json::error_code error;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && text.find_first_not_of(" \t\r\n", read) != std::string_view::npos) error = json::error::extra_data;
  if (error)
    return refuse(std::string(code), "not valid JSON at byte " + std::to_string(read) + ": " + error.message());
  Layout& layout = parser.handler().layout;
  if (layout.over()) return lay_out(text, indent, code, Layout::Form::compact, Layout::unbounded);
  return layout.take();
}

}  // namespace

std::string pretty(const json::value& value, unsigned indent) {
  Layout layout{indent};
  lay_out(layout, value);
  return layout.take();
}

Result<std::string> pretty_text(std::string_view text, unsigned indent, std::string_view code) {
  return lay_out(text, indent, code, Layout::Form::lines, 4 * text.size() + 1024 * 1024);
}

}  // namespace hatchd
