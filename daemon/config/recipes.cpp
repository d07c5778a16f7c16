#include "config/recipes.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <map>

#include "base/json.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

using schema::child;

struct Kind {
  const char* name;
  std::vector<std::string_view> required, allowed;  // beside what every hatch and every recipe has
};
const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"http", {"request"}, {"request", "expect", "target"}},
      {"signal", {"signal", "target"}, {"signal", "expect", "target"}},
      {"command", {"argv"}, {"argv", "target", "directory", "environment", "user", "limits"}},
  };
  return all;
}
constexpr std::string_view of_kinds[] = {"request",   "expect",      "target", "signal", "argv",
                                         "directory", "environment", "user",   "limits"};
constexpr std::string_view of_recipes[] = {"title", "description", "params"};

// Where "{name}" begins and ends; "${NAME}" is a variable of the environment, and another thing.
std::pair<std::size_t, std::size_t> placeholder(std::string_view text) {
  std::size_t open = text.find('{');
  while (open != text.npos && open > 0 && text[open - 1] == '$') open = text.find('{', open + 1);
  return {open, open == text.npos ? open : text.find('}', open)};
}

class Check {
 public:
  Check(const json::object& recipe, std::string at, std::vector<FieldError>& failures)
      : recipe_(recipe), at_(std::move(at)), failures_(failures) {}

  void run(const json::object& targets) {
    const std::string kind = text_of(recipe_, "kind");
    const auto known = std::find_if(kinds().begin(), kinds().end(), [&](const Kind& k) { return k.name == kind; });
    if (known == kinds().end()) return only_for_recipes();  // without a kind it sets what a plugin brings
    for (const std::string_view member : known->required)
      if (!recipe_.contains(member)) fail(at_, "a recipe of kind " + kind + " needs \"" + std::string(member) + "\"");
    for (const std::string_view member : of_kinds)
      if (recipe_.contains(member) && std::count(known->allowed.begin(), known->allowed.end(), member) == 0)
        fail(child(at_, member), "does not belong to a recipe of kind " + kind);
    const std::string target = text_of(recipe_, "target");
    // A target of a pattern ("*": {…}) is known when it runs.
    if (!target.empty() && !targets.contains(target) && !targets.contains("*"))
      fail(child(at_, "target"), "there is no target \"" + target + "\" in \"targets\"");
    for (const FieldError& error : schema::check(recipe_parameters(recipe_)))
      fail(at_ + "/params" + (error.pointer.starts_with("/properties") ? error.pointer.substr(11) : error.pointer),
           error.detail);
    if (const json::object* request = object_of(recipe_, "request")) check_request(*request, at_ + "/request");
    if (const json::object* expect = object_of(recipe_, "expect")) check_expect(*expect, at_ + "/expect");
    if (const json::array* argv = array_of(recipe_, "argv")) check_argv(*argv, at_ + "/argv");
  }

 private:
  void only_for_recipes() {
    for (const auto& list : {std::vector<std::string_view>(std::begin(of_kinds), std::end(of_kinds)),
                             std::vector<std::string_view>(std::begin(of_recipes), std::end(of_recipes))})
      for (const std::string_view member : list)
        if (recipe_.contains(member))
          fail(child(at_, member), "belongs to a recipe, which has a \"kind\": \"http\", \"signal\" or \"command\"");
  }

  // "{name}" that is the whole text and names a parameter, or text without any.
  void whole(std::string_view text, const std::string& at) {
    const auto [open, close] = placeholder(text);
    if (close == text.npos) return;
    const std::string name{text.substr(open + 1, close - open - 1)};
    const json::object* params = object_of(recipe_, "params");
    if (name != "mark" && (!params || !params->contains(name)))
      return fail(at, "{" + name + "} names no parameter of \"params\"" + near(name, params));
    if (open != 0 || close + 1 != text.size())
      fail(at, "{" + name + "} stands for a whole value, and nothing may stand beside it");
  }
  static std::string near(const std::string& name, const json::object* params) {
    std::vector<std::string_view> names;
    if (params)
      for (const auto& param : *params) names.push_back(param.key());
    const std::string found = schema::nearest(name, names);
    return found.empty() ? "" : ": did you mean {" + found + "}?";
  }
  void none(std::string_view text, const std::string& at, const char* where) {
    if (placeholder(text).second != text.npos) fail(at, std::string("{name} may not stand in ") + where);
  }
  void all_whole(const json::value& value, const std::string& at) {
    if (const json::string* text = value.if_string()) whole(*text, at);
    if (const json::object* object = value.if_object())
      for (const auto& member : *object) all_whole(member.value(), child(at, std::string_view(member.key())));
    if (const json::array* array = value.if_array())
      for (std::size_t i = 0; i < array->size(); ++i) all_whole((*array)[i], child(at, i));
  }

  void check_request(const json::object& request, const std::string& at) {
    const std::string url = text_of(request, "url");
    check_url(url, at + "/url");
    if (request.contains("form") && request.contains("json"))
      fail(at + "/json", "a request has one body: form or json");
    const std::string method = text_of(request, "method", "POST");
    if ((method == "GET" || method == "HEAD") && (request.contains("form") || request.contains("json")))
      fail(at + "/method", method + " has no body; write \"query\", or another method");
    for (const char* part : {"query", "form", "json"})
      if (const json::object* fields = object_of(request, part))
        all_whole(json::value(*fields), child(at, std::string_view(part)));
    if (const json::object* headers = object_of(request, "headers"))
      for (const auto& header : *headers)
        if (const json::string* value = header.value().if_string()) {
          const std::string where = child(at + "/headers", std::string_view(header.key()));
          none(*value, where, "a header");
          if (std::any_of(value->begin(), value->end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; }) ||
              header.key().find_first_of(": \r\n") != std::string_view::npos)
            fail(where, "is no header: line breaks, and colons and blanks in its name, are not allowed");
        }
  }

  void check_url(std::string_view url, const std::string& at) {
    const std::size_t scheme = url.find("://");
    if (scheme == url.npos || (url.substr(0, scheme) != "http" && url.substr(0, scheme) != "https"))
      return fail(at, "must begin with http:// or https://");
    const std::size_t path = std::min(url.find_first_of("/?#", scheme + 3), url.size());
    if (path == scheme + 3) return fail(at, "names no host");
    if (std::any_of(url.begin(), url.end(), [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; }))
      return fail(at, "holds a blank or a control character; write %20 and the like");
    if (url.find('#') != url.npos) fail(at, "a fragment (#…) is not sent to servers");
    none(url.substr(0, path), at, "the host");
    const std::size_t question = std::min(url.find('?', path), url.size());
    each(url.substr(path, question - path), '/', [&](std::string_view segment) { whole(segment, at); });
    if (question == url.size()) return;
    each(url.substr(question + 1), '&', [&](std::string_view pair) {
      const std::size_t equals = pair.find('=');
      none(pair.substr(0, equals), at, "the name of a query value");
      if (equals != pair.npos) whole(pair.substr(equals + 1), at);
    });
  }
  static void each(std::string_view text, char separator, const std::function<void(std::string_view)>& visit) {
    for (;;) {
      const std::size_t end = text.find(separator);
      visit(text.substr(0, end));
      if (end == text.npos) return;
      text.remove_prefix(end + 1);
    }
  }

  void check_expect(const json::object& expect, const std::string& at) {
    for (const auto& member : expect) all_whole(member.value(), child(at, std::string_view(member.key())));
    if (const json::object* members = object_of(expect, "json"))
      for (const auto& member : *members)
        if (!member.key().starts_with('/'))
          fail(child(at + "/json", std::string_view(member.key())),
               "must be a JSON Pointer, such as \"/status\" (RFC 6901)");
    if (expect.contains("log") && text_of(recipe_, "target").empty())
      fail(at + "/log", "is looked for in the log of a target: write \"target\"");
    if (text_of(recipe_, "kind") == "signal")
      for (const char* member : {"status", "body", "json"})
        if (expect.contains(member))
          fail(child(at, std::string_view(member)), "a signal has no answer; only \"log\" can be expected");
  }

  void check_argv(const json::array& argv, const std::string& at) {
    for (std::size_t i = 0; i < argv.size(); ++i) {
      const json::string* text = argv[i].if_string();
      if (!text) continue;
      if (i == 0) {
        none(*text, child(at, i), "the name of the program");
        if (!text->starts_with('/')) fail(child(at, i), "must be the absolute path of a program; there is no shell");
      } else {
        whole(*text, child(at, i));
      }
      if (text->find('\0') != json::string::npos) fail(child(at, i), "holds a NUL byte");
    }
  }

  void fail(std::string at, std::string detail) { failures_.push_back({std::move(at), std::move(detail)}); }

  const json::object& recipe_;
  const std::string at_;
  std::vector<FieldError>& failures_;
};

}  // namespace

void check_recipe(const json::object& recipe, const std::string& at, const json::object& targets,
                  std::vector<FieldError>& failures) {
  Check{recipe, at, failures}.run(targets);
}

void strip_recipe(json::object& entry) {
  entry.erase("kind");
  for (const std::string_view member : of_kinds) entry.erase(member);
  for (const std::string_view member : of_recipes) entry.erase(member);
}

json::object recipe_parameters(const json::object& recipe) {
  json::object properties;
  json::array required;
  if (const json::object* params = object_of(recipe, "params")) {
    properties = *params;
    for (const auto& param : *params)
      if (const json::object* schema = param.value().if_object(); schema && !schema->contains("default"))
        required.emplace_back(param.key());
  }
  if (const json::array* argv = array_of(recipe, "argv"))
    for (const json::value& element : *argv) {
      const std::string_view text = element.is_string() ? std::string_view(element.get_string()) : std::string_view();
      const auto [open, close] = placeholder(text);
      if (open != 0 || close == text.npos) continue;
      json::value* param = properties.if_contains(text.substr(1, close - 1));
      if (param && param->is_object()) param->get_object().emplace("format", "argument");  // where it says no other
    }
  json::object schema{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace hatchd::config
