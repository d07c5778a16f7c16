// One walk over schema and value together. Failures are collected, not thrown, so that a person repairs them all at
// once; what a failure says stands beside the keyword that found it.
//
// Bytes of a pattern's text, depth, and the number of failures are bounded: values come from callers, schemas from
// plugins.
#include <algorithm>
#include <cmath>
#include <string>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::schema {
namespace {

constexpr std::size_t max_pattern_text = 4096;

bool is_of_type(std::string_view type, const json::value& value) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  if (type == "number") return value.is_number();
  return type == "integer" && is_whole(value);
}

std::vector<std::string_view> types_of(const json::object& schema) {
  std::vector<std::string_view> types;
  const json::value* type = schema.if_contains("type");
  if (type == nullptr) return types;
  if (const json::string* one = type->if_string()) types.push_back(*one);
  if (const json::array* many = type->if_array())
    for (const json::value& entry : *many)
      if (const json::string* name = entry.if_string()) types.push_back(*name);
  return types;
}

std::string type_sentence(const std::vector<std::string_view>& types) {
  std::string out = "must be ";
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (i > 0) out += " or ";
    if (types[i] != "null") out += types[i] == "object" || types[i] == "array" || types[i] == "integer" ? "an " : "a ";
    out += types[i] == "boolean" ? "boolean (true or false)" : types[i];
  }
  return out;
}

// "1 character", "2 characters".
std::string counted(const json::value& count, std::string_view one, std::string_view many) {
  const std::string digits = scalar_text(count);
  return digits + ' ' + std::string(digits == "1" ? one : many);
}

bool fewer(std::size_t have, const json::value& bound) { return compare_numbers(json::value(have), bound) < 0; }
bool more(std::size_t have, const json::value& bound) { return compare_numbers(json::value(have), bound) > 0; }

// The name that a branch of oneOf or anyOf asks for, when that is all it asks for.
std::string_view sole_requirement(const json::value& branch) {
  const json::object* object = branch.if_object();
  if (object == nullptr || object->size() != 1) return {};
  const json::array* names = array_of(*object, "required");
  if (names == nullptr || names->size() != 1 || !names->front().is_string()) return {};
  return names->front().get_string();
}

class Validator {
 public:
  std::vector<FieldError> run(const json::object& schema, json::value& value) {
    visit(schema, value, "", 0);
    if (left_out_ > 0) errors_.push_back({"", "and " + std::to_string(left_out_) + " more"});
    return std::move(errors_);
  }

 private:
  void visit(const json::object& schema, json::value& value, const std::string& at, unsigned depth) {
    if (depth > max_depth) return fail(at, "is nested too deeply");
    const auto types = types_of(schema);
    if (!types.empty() &&
        std::none_of(types.begin(), types.end(), [&](std::string_view t) { return is_of_type(t, value); }))
      return fail(at, type_sentence(types));
    // 1e999 is read as infinity, which JSON cannot say again: whoever is sent it gets no JSON.
    if (value.is_double() && !std::isfinite(value.get_double())) return fail(at, "is too large a number");
    if (!settle_integer(types, value)) return fail(at, "is too large a number");

    check_choice(schema, value, at);
    if (value.is_number()) check_number(schema, value, at);
    if (value.is_string()) check_string(schema, value.get_string(), at);
    if (value.is_array()) check_array(schema, value.get_array(), at, depth);
    if (value.is_object()) check_object(schema, value.get_object(), at, depth);
    if (const json::array* branches = array_of(schema, "oneOf")) check_branches(*branches, true, value, at, depth);
    if (const json::array* branches = array_of(schema, "anyOf")) check_branches(*branches, false, value, at, depth);
  }

  // 3.0 is an integer in JSON Schema; whoever reads the value next expects one in its usual form. False when it has none,
  // such as 1e300.
  static bool settle_integer(const std::vector<std::string_view>& types, json::value& value) {
    if (!value.is_double() || std::find(types.begin(), types.end(), "integer") == types.end() ||
        std::find(types.begin(), types.end(), "number") != types.end())
      return true;
    if (std::abs(value.get_double()) >= 9.2e18) return false;
    value = static_cast<std::int64_t>(value.get_double());
    return true;
  }

  void check_choice(const json::object& schema, const json::value& value, const std::string& at) {
    if (const json::array* values = array_of(schema, "enum"))
      if (std::none_of(values->begin(), values->end(), [&](const json::value& v) { return same(v, value); }))
        fail(at, (values->size() == 1 ? "must be " : "must be one of ") + quoted_list(*values));
    if (const json::value* only = schema.if_contains("const"))
      if (!same(*only, value)) fail(at, "must be " + quoted(*only));
  }

  void check_number(const json::object& schema, const json::value& value, const std::string& at) {
    const json::value* minimum = number_in(schema, "minimum");
    const json::value* maximum = number_in(schema, "maximum");
    if (minimum != nullptr && !(compare_numbers(value, *minimum) >= 0))
      fail(at, "must be at least " + scalar_text(*minimum));
    if (maximum != nullptr && !(compare_numbers(value, *maximum) <= 0))
      fail(at, "must be at most " + scalar_text(*maximum));
  }

  void check_string(const json::object& schema, std::string_view text, const std::string& at) {
    const json::value* minimum = number_in(schema, "minLength");
    const json::value* maximum = number_in(schema, "maxLength");
    const std::size_t length = minimum != nullptr || maximum != nullptr ? code_points(text) : 0;
    if (minimum != nullptr && fewer(length, *minimum))
      fail(at, length == 0 && scalar_text(*minimum) == "1"
                   ? "must not be empty"
                   : "must have at least " + counted(*minimum, "character", "characters"));
    if (maximum != nullptr && more(length, *maximum))
      fail(at, "must have at most " + counted(*maximum, "character", "characters"));
    if (const json::value* pattern = schema.if_contains("pattern"); pattern != nullptr && pattern->is_string()) {
      if (text.size() > max_pattern_text)
        fail(at, "must have at most 4096 bytes, because it is matched with a pattern");
      else if (!matches(std::string(pattern->get_string()), text))
        fail(at, "must match " + quoted(*pattern));
    }
    if (const json::value* format = schema.if_contains("format"); format != nullptr && format->is_string())
      if (std::string failure = format_failure(format->get_string(), text); !failure.empty())
        fail(at, std::move(failure));
  }

  void check_array(const json::object& schema, json::array& list, const std::string& at, unsigned depth) {
    const json::value* minimum = number_in(schema, "minItems");
    const json::value* maximum = number_in(schema, "maxItems");
    if (minimum != nullptr && fewer(list.size(), *minimum))
      fail(at, "must have at least " + counted(*minimum, "entry", "entries"));
    if (maximum != nullptr && more(list.size(), *maximum))
      return fail(at, "must have at most " + counted(*maximum, "entry", "entries"));
    if (const json::object* items = object_of(schema, "items"))
      for (std::size_t i = 0; i < list.size(); ++i) visit(*items, list[i], child(at, i), depth + 1);
  }

  void check_object(const json::object& schema, json::object& object, const std::string& at, unsigned depth) {
    const json::object* properties = object_of(schema, "properties");
    if (properties != nullptr)
      for (const auto& [name, property] : *properties)
        if (const json::object* declared = property.if_object(); declared != nullptr && !object.contains(name))
          if (const json::value* fallback = declared->if_contains("default")) object[name] = *fallback;

    if (const json::array* required = array_of(schema, "required"))
      for (const json::value& name : *required)
        if (name.is_string() && !object.contains(name.get_string())) fail(child(at, name.get_string()), "is required");

    for (auto& [name, member] : object) {
      const std::string below = child(at, std::string_view(name));
      bool known = false;
      if (const json::object* declared = properties == nullptr ? nullptr : object_of(*properties, name)) {
        known = true;
        visit(*declared, member, below, depth + 1);
      }
      if (const json::object* patterns = object_of(schema, "patternProperties"))
        for (const auto& [pattern, property] : *patterns)
          if (property.is_object() && name.size() <= max_pattern_text && matches(std::string(pattern), name)) {
            known = true;
            visit(property.get_object(), member, below, depth + 1);
          }
      if (known) continue;
      const json::value* additional = schema.if_contains("additionalProperties");
      if (additional == nullptr) continue;
      if (additional->is_object())
        visit(additional->get_object(), member, below, depth + 1);
      else
        fail(below, unknown_sentence(schema, name));
    }
  }

  static std::string unknown_sentence(const json::object& schema, std::string_view name) {
    std::vector<std::string_view> declared, patterns;
    if (const json::object* properties = object_of(schema, "properties"))
      for (const auto& entry : *properties) declared.push_back(entry.key());
    if (const json::object* object = object_of(schema, "patternProperties"))
      for (const auto& entry : *object) patterns.push_back(entry.key());
    std::string list;
    if (!declared.empty()) list = "here are: " + quoted_list(declared);
    if (!patterns.empty())
      list += (list.empty() ? "here are names that match " : "; names that match ") + quoted_list(patterns);
    if (list.empty()) list = "here are none";
    const std::string meant = nearest(name, declared);
    return meant.empty() ? "unknown; t" + list : "unknown; did you mean \"" + meant + "\"? T" + list;
  }

  // Each branch judges a copy, because it may fill defaults; the copy of the one that fits is kept.
  void check_branches(const json::array& branches, bool exactly_one, json::value& value, const std::string& at,
                      unsigned depth) {
    std::vector<json::value> fitting;
    std::vector<FieldError> closest;
    std::vector<std::string_view> asked, asked_and_there, titles;
    for (const json::value& branch : branches) {
      if (!branch.is_object()) continue;
      const json::object& schema = branch.get_object();
      json::value copy = value;
      Validator judge;
      judge.visit(schema, copy, at, depth + 1);
      const bool fits = judge.errors_.empty();
      if (const std::string_view name = sole_requirement(branch); !name.empty()) {
        asked.push_back(name);
        if (fits) asked_and_there.push_back(name);
      }
      if (const json::value* title = schema.if_contains("title"); title != nullptr && title->is_string())
        titles.push_back(title->get_string());
      if (fits)
        fitting.push_back(std::move(copy));
      else if (!wrong_at_the_top(judge.errors_, at) && (closest.empty() || judge.errors_.size() < closest.size()))
        closest = std::move(judge.errors_);
    }
    if (fitting.size() == 1 || (fitting.size() > 1 && !exactly_one)) {
      value = std::move(fitting.front());
    } else if (asked.size() == branches.size()) {
      fail(at, fitting.empty() ? "needs one of " + quoted_list(asked)
                               : "may have only one of " + quoted_list(asked_and_there));
    } else if (!fitting.empty()) {
      fail(at, "fits more than one of the allowed forms");
    } else if (!closest.empty()) {
      for (FieldError& error : closest) fail(error.pointer, std::move(error.detail));
    } else {
      fail(at, titles.size() == branches.size() ? "must be one of " + quoted_list(titles)
                                                : "fits none of the allowed forms");
    }
  }

  // Of the wrong type altogether: its failures would not help whoever meant another branch.
  static bool wrong_at_the_top(const std::vector<FieldError>& errors, const std::string& at) {
    return std::any_of(errors.begin(), errors.end(), [&](const FieldError& e) { return e.pointer == at; });
  }

  static const json::value* number_in(const json::object& schema, std::string_view keyword) {
    const json::value* bound = schema.if_contains(keyword);
    return bound != nullptr && bound->is_number() ? bound : nullptr;
  }

  void fail(std::string pointer, std::string detail) {
    if (errors_.size() < max_errors)
      errors_.push_back({std::move(pointer), std::move(detail)});
    else
      ++left_out_;
  }

  std::vector<FieldError> errors_;
  std::size_t left_out_ = 0;
};

}  // namespace

std::vector<FieldError> validate(const json::object& schema, json::value& value) {
  return Validator().run(schema, value);
}

}  // namespace hatchd::schema
