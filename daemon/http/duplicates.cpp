#include "http/duplicates.hpp"

#include <boost/json/basic_parser_impl.hpp>
#include <set>

namespace hatchd::http {
namespace {

namespace json = boost::json;

// Called by the parser for every token; keeps the names of the objects that are open, and where each stands.
struct Names {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_found = 8;

  struct Level {
    bool array = false;
    std::set<std::string, std::less<>> names;
    std::string current;    // the member whose value is being read
    std::size_t index = 0;  // the element of an array
  };
  std::vector<Level> open;
  std::string key;
  std::vector<std::string> found;

  std::string pointer() const {
    std::string out;
    for (const Level& level : open)
      out += level.array ? "/" + std::to_string(level.index) : pointer_step(level.current);
    return out;
  }
  bool value() {
    if (!open.empty() && open.back().array) ++open.back().index;
    return true;
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return open.emplace_back(), true; }
  bool on_object_end(std::size_t, json::error_code&) { return open.pop_back(), value(); }
  bool on_array_begin(json::error_code&) { return open.emplace_back().array = true; }
  bool on_array_end(std::size_t, json::error_code&) { return open.pop_back(), value(); }
  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    key.append(part.data(), part.size());
    Level& level = open.back();
    level.current = key;
    if (!level.names.insert(std::move(key)).second && found.size() < max_found) found.push_back(pointer());
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, json::error_code&) { return true; }
  bool on_string(json::string_view, std::size_t, json::error_code&) { return value(); }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, json::error_code&) { return value(); }
  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) { return value(); }
  bool on_double(double, json::string_view, json::error_code&) { return value(); }
  bool on_bool(bool, json::error_code&) { return value(); }
  bool on_null(json::error_code&) { return value(); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }
};

}  // namespace

std::vector<std::string> duplicate_members(std::string_view text) {
  json::basic_parser<Names> parser{json::parse_options{}};
  json::error_code error;
  parser.write_some(false, text.data(), text.size(), error);
  return std::move(parser.handler().found);
}

JsonSize json_size(std::string_view json) {
  JsonSize size{0, 1};
  std::size_t depth = 0;
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '"') {
      while (++at < json.size() && json[at] != '"')
        if (json[at] == '\\') ++at;
    } else if (c == '[' || c == '{') {
      ++depth;
      const std::size_t next = json.find_first_not_of(" \t\r\n", at + 1);
      if (next == json.npos || json[next] == ']' || json[next] == '}') continue;
      ++size.values;
      if (depth == 1) ++size.members;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else if (c == ',') {
      ++size.values;
      if (depth == 1) ++size.members;
    }
  }
  return size;
}

std::string pointer_step(std::string_view name) {
  std::string out = "/";
  for (const char c : name) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

}  // namespace hatchd::http
