// Text to the type that the schema says. Where several types are allowed, the narrowest that fits wins: "3" becomes a
// number before it stays a string.
#include <charconv>
#include <cmath>
#include <optional>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::schema {
namespace {

constexpr std::size_t max_entries = 10000;

struct Types {
  bool null = false, boolean = false, integer = false, number = false, array = false, object = false, string = false;
  int count() const { return null + boolean + integer + number + array + object + string; }
};

void add_type(Types& types, std::string_view name) {
  if (name == "null") types.null = true;
  if (name == "boolean") types.boolean = true;
  if (name == "integer") types.integer = true;
  if (name == "number") types.number = true;
  if (name == "array") types.array = true;
  if (name == "object") types.object = true;
  if (name == "string") types.string = true;
}

// The types of a schema; those of its branches where it names none itself.
Types types_of(const json::object& schema, unsigned depth = 0) {
  Types types;
  if (depth > max_depth) return types;
  if (const json::value* type = schema.if_contains("type")) {
    if (type->is_string()) add_type(types, type->get_string());
    if (type->is_array())
      for (const std::string& name : texts_of(schema, "type")) add_type(types, name);
    return types;
  }
  for (const char* keyword : {"oneOf", "anyOf"})
    if (const json::array* branches = array_of(schema, keyword))
      for (const json::value& branch : *branches)
        if (branch.is_object()) {
          const Types more = types_of(branch.get_object(), depth + 1);
          types.null |= more.null, types.boolean |= more.boolean, types.integer |= more.integer;
          types.number |= more.number, types.array |= more.array, types.object |= more.object;
          types.string |= more.string;
        }
  return types;
}

// A value of enum or const that is written like `text`, for schemas that name no type.
std::optional<json::value> chosen(const json::object& schema, std::string_view text) {
  if (const json::value* only = schema.if_contains("const"); only != nullptr && scalar_text(*only) == text)
    return *only;
  if (const json::array* values = array_of(schema, "enum"))
    for (const json::value& value : *values)
      if (!value.is_array() && !value.is_object() && scalar_text(value) == text) return value;
  return std::nullopt;
}

std::optional<json::value> to_boolean(std::string_view text, bool words_only) {
  for (const std::string_view yes : {"true", "on", "yes", "1"})
    if (text == yes && !(words_only && yes != "true")) return json::value(true);
  for (const std::string_view no : {"false", "off", "no", "0"})
    if (text == no && !(words_only && no != "false")) return json::value(false);
  return std::nullopt;
}

template <class N>
std::optional<N> to_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  N number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<json::value> to_integer(std::string_view text) {
  if (const auto number = to_number<std::int64_t>(text)) return json::value(*number);
  if (const auto number = to_number<std::uint64_t>(text)) return json::value(*number);
  // "3.0" and "1e3" are integers too; what a double cannot hold exactly is not guessed.
  const auto real = to_number<double>(text);
  if (!real || !std::isfinite(*real) || std::trunc(*real) != *real || std::abs(*real) > 9007199254740992.0)
    return std::nullopt;
  return json::value(static_cast<std::int64_t>(*real));
}

std::optional<json::value> to_any_number(std::string_view text) {
  if (const auto whole = to_number<std::int64_t>(text)) return json::value(*whole);
  const auto real = to_number<double>(text);
  if (!real || !std::isfinite(*real)) return std::nullopt;
  return json::value(*real);
}

std::optional<json::value> to_json(std::string_view text, char opening) {
  const std::size_t at = text.find_first_not_of(" \t\r\n");
  if (at == text.npos || text[at] != opening) return std::nullopt;
  auto parsed = parse_json(text);
  return parsed ? std::optional<json::value>(std::move(*parsed)) : std::nullopt;
}

std::optional<json::value> to_type(const json::object& schema, std::string_view text);

std::optional<json::value> to_array(const json::object& schema, std::string_view text) {
  if (auto list = to_json(text, '[')) return list;
  json::array list;
  const json::object* items = object_of(schema, "items");
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view entry = text.substr(0, comma);
    // An entry that does not convert stays text: validate() then says which one is wrong and how.
    auto value = items == nullptr ? std::nullopt : to_type(*items, entry);
    list.push_back(value ? std::move(*value) : json::value(entry));
    if (list.size() > max_entries) return std::nullopt;
    if (comma == text.npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) list.emplace_back("");
  }
  return list;
}

std::optional<json::value> to_type(const json::object& schema, std::string_view text) {
  if (auto value = chosen(schema, text)) return value;
  const Types types = types_of(schema);
  const bool alone = types.count() == 1;
  if (types.null && text == (types.string ? "" : "null")) return json::value(nullptr);
  if (types.integer)
    if (auto value = to_integer(text)) return value;
  if (types.number)
    if (auto value = to_any_number(text)) return value;
  if (types.boolean)
    if (auto value = to_boolean(text, !alone)) return value;
  if (types.object)
    if (auto value = to_json(text, '{')) return value;
  if (types.array && (!types.string || text.starts_with('[')))
    if (auto value = to_array(schema, text)) return value;
  if (types.string || types.count() == 0) return json::value(text);
  return std::nullopt;
}

std::string expected(const Types& types) {
  std::string out;
  const auto add = [&](bool wanted, std::string_view what) {
    if (wanted) out += (out.empty() ? "must be " : " or ") + std::string(what);
  };
  add(types.integer, "an integer");
  add(types.number, "a number");
  add(types.boolean, "true or false");
  add(types.array, "a list: \"a,b\" or a JSON array");
  add(types.object, "a JSON object");
  add(types.null, "null");
  return out;
}

}  // namespace

Result<json::value> convert(const json::object& schema, std::string_view name, std::string_view text) {
  const json::object* properties = object_of(schema, "properties");
  const json::object* declared = properties == nullptr ? nullptr : object_of(*properties, name);
  if (declared == nullptr) declared = object_of(schema, "additionalProperties");
  if (declared == nullptr) return json::value(text);
  if (auto value = to_type(*declared, text)) return std::move(*value);
  const std::string what = expected(types_of(*declared));
  Problem problem{"params-invalid", "The parameter \"" + std::string(name) + "\" " + what + "."};
  problem.errors.push_back({child("", name), what});
  return tl::unexpected<Problem>(std::move(problem));
}

}  // namespace hatchd::schema
