#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/url.hpp"
#include "targets/find/finder.hpp"
#include "targets/targets.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

constexpr std::size_t max_targets = 256;

std::string pointer(std::string_view name, std::string_view key = {}) {
  std::string out = "/";
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);  // RFC 6901
  if (!key.empty()) (out += '/') += key;
  return out;
}

// {mark} stands for a whole segment or query value, and for nothing else (plugins/common/url.hpp).
std::string wrong_url(std::string_view url) {
  if (const std::string wrong = wrong_http_url(url); !wrong.empty()) return "\"url\" " + wrong;
  const std::size_t path = path_begin(url);
  for (std::size_t at = url.find("{mark}"); at != url.npos; at = url.find("{mark}", at + 6)) {
    const char before = url[at - 1], after = at + 6 < url.size() ? url[at + 6] : '&';
    if (at < path || (before != '/' && before != '=') || (after != '/' && after != '?' && after != '&'))
      return "\"url\" has {mark} beside other text; it stands for a whole segment or query value";
  }
  return {};
}

// One of {"file": PATH}, {"journal": true or PATH}, {"command": [PROGRAM, …]}, {"url": URL, "headers": {…}}.
std::string wrong_log(const json::value& value) {
  const std::string ways = "must have one of \"file\", \"journal\", \"command\" and \"url\"";
  const json::object* log = value.if_object();
  if (!log) return ways;
  std::size_t count = 0;
  for (const char* way : {"file", "journal", "command", "url"}) count += log->contains(way) ? 1 : 0;
  if (count != 1) return ways;
  if (log->contains("headers") && !log->contains("url")) return "has \"headers\", which belong to \"url\"";
  if (const json::value* file = log->if_contains("file")) {
    const auto path = path_value(*file);
    return path ? "" : "\"file\" " + path.error().detail;
  }
  if (const json::value* journal = log->if_contains("journal"))
    return journal->is_string() || flag_of(*log, "journal") ? "" : "\"journal\" must be true, or the folder it is in";
  if (const json::value* command = log->if_contains("command")) {
    const std::vector<std::string> argv = texts_of(*log, "command");
    if (!command->is_array() || argv.empty() || argv.size() != command->get_array().size())
      return "\"command\" must be a list of texts";
    if (!argv.front().starts_with('/')) return "\"command\" must begin with the absolute path of a program";
    for (const std::string& argument : argv) {
      if (argument.find('\0') != std::string::npos) return "\"command\" holds a NUL byte";
      if (argument != "{mark}" && argument.find("{mark}") != std::string::npos)
        return "\"command\" has {mark} beside other text; it stands for a whole argument";
    }
    return {};
  }
  if (std::string wrong = wrong_url(text_of(*log, "url")); !wrong.empty()) return wrong;
  if (const json::object* headers = object_of(*log, "headers"))
    for (const auto& header : *headers)
      if (const json::string* text = header.value().if_string();
          !text || text->find_first_of("\r\n") != json::string::npos || text->find('\0') != json::string::npos ||
          header.key().find_first_of(": \r\n") != std::string_view::npos)
        return "has a header that is none: " + std::string(header.key());
  return {};
}

void check_one(std::string_view name, const json::value& value, std::vector<FieldError>& errors) {
  if (name.empty() || name.size() > 64 || name.find('/') != std::string_view::npos || name == "." || name == "..")
    errors.push_back({pointer(name), "a target's name has 1 to 64 characters and no /"});
  const json::object* match = value.if_object();
  if (!match) return errors.push_back({pointer(name), "must be an object"});
  for (const auto& [key, member] : *match)
    if (!is_matcher(key) && key != "user" && key != "log")
      errors.push_back({pointer(name, key), "unknown; a target has one of " + matcher_names() + ", and user and log"});
  Context context;
  if (const json::value* user = match->if_contains("user"); user && !(context.user = uid_of(*user)))
    errors.push_back({pointer(name, "user"), "there is no such user"});
  if (const json::value* log = match->if_contains("log"))
    if (const std::string wrong = wrong_log(*log); !wrong.empty()) errors.push_back({pointer(name, "log"), wrong});
  const Matcher* matcher = matcher_of(*match);
  if (!matcher) return errors.push_back({pointer(name), "must have exactly one of " + matcher_names()});
  const json::value& wanted = match->at(matcher->key);
  const bool wildcard = matcher->key == "unit" && text_of(*match, "unit").find_first_of("*?[") != std::string::npos;
  if (name == "*" && !wildcard)
    errors.push_back({pointer(name), "\"*\" makes a target of each match, so it takes \"unit\" with a wildcard"});
  else if (name != "*" && wildcard)
    errors.push_back({pointer(name, "unit"), "a wildcard stands only in the target \"*\""});
  if (auto made = matcher->make(wanted, context); !made)
    errors.push_back({pointer(name, matcher->key), made.error().detail});
}

}  // namespace

std::vector<FieldError> check(const json::object& targets) {
  std::vector<FieldError> errors;
  if (targets.size() > max_targets) errors.push_back({"", "more than " + std::to_string(max_targets) + " targets"});
  for (const auto& [name, value] : targets) check_one(name, value, errors);
  return errors;
}

}  // namespace hatchd::targets
