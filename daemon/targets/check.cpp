#include <boost/json.hpp>

#include "base/json.hpp"
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

// {"file": PATH} or {"journal": true}
std::string wrong_log(const json::value& value) {
  const json::object* log = value.if_object();
  if (!log || log->size() != 1) return "must be {\"file\": PATH} or {\"journal\": true}";
  if (const json::value* file = log->if_contains("file")) {
    const auto path = path_value(*file);
    return path ? "" : "\"file\" " + path.error().detail;
  }
  return flag_of(*log, "journal") ? "" : "must be {\"file\": PATH} or {\"journal\": true}";
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
