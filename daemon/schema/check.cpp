// Is a schema one that validate() understands? A keyword that is misspelt or of the wrong type would be silently no
// check at all, so everything that is not known to be right is a failure. Then defaults and examples have to satisfy
// it.
#include <algorithm>
#include <array>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::schema {
namespace {

constexpr std::size_t max_pattern = 512;

class Checker {
 public:
  void visit(const json::value& schema, const std::string& at, unsigned depth) {
    if (depth > max_depth) return fail(at, "is nested too deeply");
    if (!schema.is_object()) return fail(at, "must be a schema, which is an object");
    const json::object& object = schema.get_object();
    for (const auto& member : object) {
      const auto& keyword = member.key();
      const auto& value = member.value();
      const auto row =
          std::find_if(keywords.begin(), keywords.end(), [&](const Keyword& k) { return k.name == keyword; });
      const std::string below = child(at, std::string_view(keyword));
      if (row == keywords.end())
        fail(below, unknown_keyword(keyword));
      else
        (this->*row->check)(object, value, below, depth);
    }
    // Only a sound schema can judge its own values.
    if (errors.empty()) judge_values(object, at);
  }

  std::vector<FieldError> errors;

 private:
  using Check = void (Checker::*)(const json::object& schema, const json::value& value, const std::string& at,
                                  unsigned depth);
  struct Keyword {
    std::string_view name;
    Check check;
  };
  static const std::array<Keyword, 26> keywords;

  static std::string unknown_keyword(std::string_view keyword) {
    std::vector<std::string_view> names;
    for (const Keyword& known : keywords) names.push_back(known.name);
    const std::string meant = nearest(keyword, names);
    return meant.empty() ? "unknown keyword" : "unknown keyword; did you mean \"" + meant + "\"?";
  }

  void type(const json::object&, const json::value& value, const std::string& at, unsigned) {
    static const json::array names{"object", "array", "string", "integer", "number", "boolean", "null"};
    const auto known = [](const json::value& v) { return std::find(names.begin(), names.end(), v) != names.end(); };
    if (const json::array* many = value.if_array()) {
      if (many->empty() || !std::all_of(many->begin(), many->end(), known))
        fail(at, "must hold only " + quoted_list(names));
    } else if (!known(value)) {
      fail(at, "must be one of " + quoted_list(names) + ", or a list of them");
    }
  }
  void schemas_by_name(const json::object&, const json::value& value, const std::string& at, unsigned depth) {
    if (!value.is_object()) return fail(at, "must be an object of schemas");
    for (const auto& [name, schema] : value.get_object()) visit(schema, child(at, std::string_view(name)), depth + 1);
  }
  void schemas_by_pattern(const json::object& schema, const json::value& value, const std::string& at, unsigned depth) {
    schemas_by_name(schema, value, at, depth);
    if (value.is_object())
      for (const auto& entry : value.get_object()) check_pattern(entry.key(), child(at, std::string_view(entry.key())));
  }
  void schema_list(const json::object&, const json::value& value, const std::string& at, unsigned depth) {
    if (!value.is_array() || value.get_array().empty()) return fail(at, "must be a list of schemas");
    for (std::size_t i = 0; i < value.get_array().size(); ++i) visit(value.get_array()[i], child(at, i), depth + 1);
  }
  void one_schema(const json::object&, const json::value& value, const std::string& at, unsigned depth) {
    visit(value, at, depth + 1);
  }
  void additional(const json::object& schema, const json::value& value, const std::string& at, unsigned depth) {
    if (value.is_bool() ? value.get_bool() : !value.is_object()) return fail(at, "must be false or a schema");
    if (value.is_object()) one_schema(schema, value, at, depth);
  }
  void required(const json::object& schema, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_array()) return fail(at, "must be a list of names");
    const json::object* properties = object_of(schema, "properties");
    for (std::size_t i = 0; i < value.get_array().size(); ++i) {
      const json::string* name = value.get_array()[i].if_string();
      if (name == nullptr)
        fail(child(at, i), "must be a string");
      else if (properties != nullptr && !properties->contains(*name))
        fail(child(at, i), "is not among the properties");
    }
  }
  void size(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_number() || !is_whole(value) || compare_numbers(value, json::value(0)) < 0)
      fail(at, "must be an integer that is not negative");
  }
  void number(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_number()) fail(at, "must be a number");
  }
  void text(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_string()) fail(at, "must be a string");
  }
  void list(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_array() || value.get_array().empty()) fail(at, "must be a list that is not empty");
  }
  void flag(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_bool()) fail(at, "must be true or false");
  }
  void anything(const json::object&, const json::value&, const std::string&, unsigned) {}
  void pattern(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_string()) return fail(at, "must be a string");
    check_pattern(value.get_string(), at);
  }
  void format(const json::object&, const json::value& value, const std::string& at, unsigned) {
    if (!value.is_string() || !known_format(value.get_string()))
      fail(at,
           "must be one of \"duration\", \"name\", \"hatch-id\", \"absolute-path\", \"uri\", \"server-url\", "
           "\"argument\", "
           "\"plain-argument\", \"path-segment\"");
  }
  void effect(const json::object& schema, const json::value& value, const std::string& at, unsigned) {
    raises(schema, value, at, json::array{"observe", "act", "disrupt"});
  }
  void role(const json::object& schema, const json::value& value, const std::string& at, unsigned) {
    raises(schema, value, at, json::array{"viewer", "operator", "admin"});
  }

  // One word for the whole parameter, or a word for each of some values.
  void raises(const json::object& schema, const json::value& value, const std::string& at, const json::array& words) {
    const auto known = [&](const json::value& v) { return std::find(words.begin(), words.end(), v) != words.end(); };
    if (!value.is_object()) {
      if (!known(value)) fail(at, "must be one of " + quoted_list(words) + ", or an object of them by value");
      return;
    }
    const json::array* choices = array_of(schema, "enum");
    for (const auto& [chosen, word] : value.get_object()) {
      const std::string below = child(at, std::string_view(chosen));
      if (!known(word)) fail(below, "must be one of " + quoted_list(words));
      const auto is_chosen = [&, name = std::string_view(chosen)](const json::value& v) {
        return scalar_text(v) == name;
      };
      if (choices != nullptr && std::none_of(choices->begin(), choices->end(), is_chosen))
        fail(below, "is not among the values of enum");
    }
  }

  void check_pattern(std::string_view text, const std::string& at) {
    if (text.size() > max_pattern)
      fail(at, "must have at most 512 bytes");
    else if (!compiles(std::string(text)))
      fail(at, "is not a regular expression that hatchd understands (ECMAScript without back-references)");
  }

  void judge_values(const json::object& schema, const std::string& at) {
    const auto judge = [&](const json::value& value, const std::string& place) {
      json::value copy = value;
      for (const FieldError& error : validate(schema, copy))
        fail(place + error.pointer, "does not satisfy its own schema: " + error.detail);
    };
    if (const json::value* fallback = schema.if_contains("default")) judge(*fallback, child(at, "default"));
    if (const json::array* examples = array_of(schema, "examples"))
      for (std::size_t i = 0; i < examples->size(); ++i) judge((*examples)[i], child(child(at, "examples"), i));
  }

  void fail(std::string at, std::string detail) {
    if (errors.size() < max_errors) errors.push_back({std::move(at), std::move(detail)});
  }
};

const std::array<Checker::Keyword, 26> Checker::keywords{{
    {"type", &Checker::type},
    {"properties", &Checker::schemas_by_name},
    {"required", &Checker::required},
    {"additionalProperties", &Checker::additional},
    {"patternProperties", &Checker::schemas_by_pattern},
    {"items", &Checker::one_schema},
    {"minItems", &Checker::size},
    {"maxItems", &Checker::size},
    {"enum", &Checker::list},
    {"const", &Checker::anything},
    {"minimum", &Checker::number},
    {"maximum", &Checker::number},
    {"minLength", &Checker::size},
    {"maxLength", &Checker::size},
    {"pattern", &Checker::pattern},
    {"format", &Checker::format},
    {"oneOf", &Checker::schema_list},
    {"anyOf", &Checker::schema_list},
    {"default", &Checker::anything},
    {"title", &Checker::text},
    {"description", &Checker::text},
    {"examples", &Checker::list},
    {"$schema", &Checker::text},
    {"secret", &Checker::flag},
    {"x-effect", &Checker::effect},
    {"x-role", &Checker::role},
}};

}  // namespace

std::vector<FieldError> check(const json::object& schema) {
  Checker checker;
  checker.visit(json::value(schema), "", 0);
  return std::move(checker.errors);
}

}  // namespace hatchd::schema
