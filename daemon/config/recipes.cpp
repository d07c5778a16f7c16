#include "config/recipes.hpp"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <map>

#include "base/json.hpp"
#include "base/url.hpp"
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
// What a request itself is asked by (http/body.cpp): a parameter of such a name could never be given.
constexpr std::string_view of_requests[] = {"target",  "format",  "reason",  "processes",
                                            "profile", "dry_run", "dry-run", "wait"};

// Where "{name}" begins and ends; "${NAME}" is a variable of the environment, and another thing.
std::pair<std::size_t, std::size_t> placeholder(std::string_view text) {
  std::size_t open = text.find('{');
  while (open != text.npos && open > 0 && text[open - 1] == '$') open = text.find('{', open + 1);
  return {open, open == text.npos ? open : text.find('}', open)};
}

// "{name}" as name; "" for what is no placeholder alone.
std::string_view whole_name(std::string_view text) {
  const auto [open, close] = placeholder(text);
  return open == 0 && close + 1 == text.size() ? text.substr(1, close - 1) : std::string_view();
}

void each(std::string_view text, char separator, const std::function<void(std::string_view)>& visit) {
  for (;;) {
    const std::size_t end = text.find(separator);
    visit(text.substr(0, end));
    if (end == text.npos) return;
    text.remove_prefix(end + 1);
  }
}

// What a URL has before its query: where its path begins and ends.
std::pair<std::size_t, std::size_t> path_of(std::string_view url) {
  const std::size_t path = path_begin(url);
  return {path, std::min(url.find('?', path), url.size())};
}

constexpr const char *argument = "argument", *plain_argument = "plain-argument", *path_segment = "path-segment";

// The log of a recipe's target, nullptr: it has none. That of the pattern ("*": {…}) is for all that it makes.
const json::object* log_of(const json::object& recipe, const json::object& targets) {
  const std::string target = text_of(recipe, "target");
  const json::object* match = object_of(targets, targets.contains(target) ? target : "*");
  return match ? object_of(*match, "log") : nullptr;
}

// What is looked for in that log has to be fit for an argument, where a program reads it and is told; "": it has not to.
std::string_view format_in_log(const json::object& recipe, const json::object& targets) {
  const json::object* log = log_of(recipe, targets);
  const json::array* command = log ? array_of(*log, "command") : nullptr;
  bool behind = false;  // "--"
  for (std::size_t i = 0; command && i < command->size(); ++i) {
    if ((*command)[i] == "{mark}") return behind ? argument : plain_argument;
    behind = behind || (*command)[i] == "--";
  }
  return {};
}

// What parameters have to be where they stand: the format of each that is an argument or a segment of a path.
std::map<std::string, std::string> formats_of(const json::object& recipe, const json::object& targets) {
  std::map<std::string, std::string> formats;
  if (const json::object* expect = object_of(recipe, "expect")) {
    const std::string wanted = text_of(*expect, "log");
    const std::string_view name = whole_name(wanted), format = format_in_log(recipe, targets);
    if (!name.empty() && !format.empty()) formats.emplace(name, format);
  }
  bool behind = false;  // "--"
  if (const json::array* argv = array_of(recipe, "argv"))
    for (const json::value& element : *argv) {
      const std::string_view text = element.is_string() ? std::string_view(element.get_string()) : std::string_view();
      if (const std::string_view name = whole_name(text); name.empty())
        behind = behind || text == "--";
      else if (!behind)
        formats[std::string(name)] = plain_argument;
      else
        formats.emplace(name, argument);
    }
  if (const json::object* request = object_of(recipe, "request")) {
    const std::string url = text_of(*request, "url");
    const auto [path, question] = path_of(url);
    each(std::string_view(url).substr(path, question - path), '/', [&](std::string_view segment) {
      if (const std::string_view name = whole_name(segment); !name.empty()) formats[std::string(name)] = path_segment;
    });
  }
  return formats;
}

bool may_be_number(const json::object& schema) {
  const json::value* type = schema.if_contains("type");
  if (!type) return true;
  if (type->is_array())
    return std::any_of(type->get_array().begin(), type->get_array().end(),
                       [](const json::value& one) { return one == "integer" || one == "number"; });
  return *type == "integer" || *type == "number";
}

// Makes the schema of a parameter ask for it. Where it has a format of its own that counts: all of the others hold no
// NUL byte, begin with no '-' and are no dots.
void tighten(json::object& schema, const std::string& format) {
  const std::string own = text_of(schema, "format");
  if (own.empty() || own == argument || own == plain_argument || own == path_segment) schema["format"] = format;
  // A number below nothing begins with '-', too.
  if (const json::value* least = schema.if_contains("minimum");
      format == plain_argument && may_be_number(schema) &&
      (!least || (least->is_number() && schema::compare_numbers(*least, json::value(0)) < 0)))
    schema["minimum"] = 0;
}

// The parameters as the recipe writes them.
json::object written_parameters(const json::object& recipe) {
  json::object properties;
  json::array required;
  if (const json::object* params = object_of(recipe, "params")) {
    properties = *params;
    for (const auto& param : *params)
      if (const json::object* schema = param.value().if_object(); schema && !schema->contains("default"))
        required.emplace_back(param.key());
  }
  json::object schema{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

// The names that the plugin knows (plugins/recipe/signal.cpp).
const std::vector<std::string>& signal_names() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names;
    for (int number = 1; number < SIGRTMIN; ++number)
      if (const char* name = ::sigabbrev_np(number)) names.emplace_back(name);
    names.emplace_back("RTMIN");
    names.emplace_back("RTMAX");
    for (int i = 0; i <= SIGRTMAX - SIGRTMIN; ++i) {
      names.push_back("RTMIN+" + std::to_string(i));
      names.push_back("RTMAX-" + std::to_string(i));
    }
    return names;
  }();
  return all;
}

class Check {
 public:
  Check(const json::object& recipe, std::string at, std::vector<FieldError>& failures)
      : recipe_(recipe), at_(std::move(at)), failures_(failures) {}

  void run(const json::object& targets) {
    targets_ = &targets;
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
    for (const FieldError& error : schema::check(written_parameters(recipe_)))
      fail(at_ + "/params" + (error.pointer.starts_with("/properties") ? error.pointer.substr(11) : error.pointer),
           error.detail);
    if (const json::object* params = object_of(recipe_, "params"))
      for (const auto& param : *params)
        if (std::count(std::begin(of_requests), std::end(of_requests), std::string_view(param.key())) != 0)
          fail(child(at_ + "/params", std::string_view(param.key())),
               "is a name that belongs to the request itself, so nobody could give it; write another");
    if (const json::object* environment = object_of(recipe_, "environment"))
      for (const auto& variable : *environment) check_variable(variable.key(), variable.value());
    if (const json::object* request = object_of(recipe_, "request")) check_request(*request, at_ + "/request");
    if (const json::object* expect = object_of(recipe_, "expect")) check_expect(*expect, at_ + "/expect");
    if (const json::array* argv = array_of(recipe_, "argv")) check_argv(*argv, at_ + "/argv");
    if (const std::string signal = text_of(recipe_, "signal"); !signal.empty()) check_signal(signal, at_ + "/signal");
    for (const auto& [name, format] : formats_of(recipe_, targets)) check_values(name, format);
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
    const auto [path, question] = path_of(url);
    if (placeholder(url.substr(0, path)).second != url.npos) return none(url.substr(0, path), at, "the host");
    if (std::string wrong = wrong_http_url(url); !wrong.empty()) return fail(at, std::move(wrong));
    each(url.substr(path, question - path), '/', [&](std::string_view segment) { whole(segment, at); });
    if (question == url.size()) return;
    each(url.substr(question + 1), '&', [&](std::string_view pair) {
      const std::size_t equals = pair.find('=');
      none(pair.substr(0, equals), at, "the name of a query value");
      if (equals != pair.npos) whole(pair.substr(equals + 1), at);
    });
  }
  void check_expect(const json::object& expect, const std::string& at) {
    for (const auto& member : expect) all_whole(member.value(), child(at, std::string_view(member.key())));
    if (const json::object* members = object_of(expect, "json"))
      for (const auto& member : *members)
        if (!member.key().starts_with('/'))
          fail(child(at + "/json", std::string_view(member.key())),
               "must be a JSON Pointer, such as \"/status\" (RFC 6901)");
    if (expect.contains("log")) check_log(text_of(expect, "log"), at + "/log");
    if (text_of(recipe_, "kind") == "signal")
      for (const char* member : {"status", "body", "json"})
        if (expect.contains(member))
          fail(child(at, std::string_view(member)), "a signal has no answer; only \"log\" can be expected");
  }

  void check_log(const std::string& wanted, const std::string& at) {
    const std::string target = text_of(recipe_, "target");
    if (target.empty()) return fail(at, "is looked for in the log of a target: write \"target\"");
    const json::object* match = object_of(*targets_, targets_->contains(target) ? target : "*");
    if (match && !match->contains("log"))
      return fail(at, "is looked for in the target's log, and \"" + target + "\" has none: write targets." + target +
                          ".log, such as {\"file\": \"/var/log/" + target + ".log\"} or {\"journal\": true}");
    const std::string_view format = format_in_log(recipe_, *targets_);
    if (format.empty() || !whole_name(wanted).empty()) return;
    if (const std::string wrong = schema::format_failure(format, wanted); !wrong.empty())
      fail(at, wrong + ", since the program of targets." + target + ".log.command is given it");
  }

  void check_signal(const std::string& signal, const std::string& at) {
    const std::vector<std::string>& known = signal_names();
    if (std::count(known.begin(), known.end(), signal) == 0) {
      std::string bare = signal;
      std::transform(bare.begin(), bare.end(), bare.begin(),
                     [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
      if (bare.starts_with("SIG")) bare.erase(0, 3);
      const std::vector<std::string_view> names(known.begin(), known.end());
      const std::string meant = std::count(known.begin(), known.end(), bare) != 0 ? bare : schema::nearest(bare, names);
      return fail(at, "there is no such signal; write its name without SIG, as signal(7) has it, such as \"USR1\"" +
                          (meant.empty() ? std::string() : ": did you mean \"" + meant + "\"?"));
    }
    const std::string effect = text_of(recipe_, "effect", "act");
    // What a process can catch, its own state says when it runs.
    if ((signal == "KILL" || signal == "STOP") && effect != "disrupt")
      fail(at, std::string(signal == "KILL" ? "ends" : "stops") +
                   " the target, whatever it does about it: write \"effect\": \"disrupt\", and \"enabled\": true");
    else if (effect == "observe")
      fail(at_ + "/effect", "a signal is more than a look: write \"act\", or \"disrupt\" where it may end the target");
  }

  // What the configuration itself offers for a parameter has to be fit for the place where that stands.
  void check_values(const std::string& name, const std::string& format) {
    const json::object* params = object_of(recipe_, "params");
    const json::object* param = params ? object_of(*params, name) : nullptr;
    if (!param) return;
    const std::string at = child(at_ + "/params", std::string_view(name));
    const auto check = [&](const json::value& value, std::string where) {
      const std::string wrong = schema::format_failure(format, schema::scalar_text(value));
      if (wrong.empty() || value.is_object() || value.is_array()) return;
      const bool option =
          format == plain_argument && schema::format_failure(argument, schema::scalar_text(value)).empty();
      fail(std::move(where),
           wrong +
               (option ? "; where the program knows that, write \"--\" before {" + name + "} in argv" : std::string()));
    };
    if (const json::value* fallback = param->if_contains("default")) check(*fallback, at + "/default");
    for (const char* list : {"enum", "examples"})
      if (const json::array* values = array_of(*param, list))
        for (std::size_t i = 0; i < values->size(); ++i) check((*values)[i], child(child(at, list), i));
  }

  void check_variable(std::string_view name, const json::value& value) {
    const std::string at = child(at_ + "/environment", name);
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != name.npos)
      fail(at, "is no name of a variable: it is not empty, and holds no \"=\"");
    const json::string* text = value.if_string();
    if (!text) return;
    if (text->find('\0') != json::string::npos) fail(at, "holds a NUL byte");
    const json::object* params = object_of(recipe_, "params");
    const std::string_view parameter = whole_name(*text);
    if (parameter == "mark" || (params && params->contains(parameter)))
      fail(at, "{" + std::string(parameter) + "} may not stand in the environment; write it in argv");
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
  const json::object* targets_ = nullptr;
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

json::object recipe_parameters(const json::object& recipe, const json::object& targets) {
  json::object schema = written_parameters(recipe);
  json::object& properties = schema["properties"].get_object();
  for (const auto& [name, format] : formats_of(recipe, targets))
    if (json::value* param = properties.if_contains(name); param && param->is_object())
      tighten(param->get_object(), format);
  return schema;
}

}  // namespace hatchd::config
