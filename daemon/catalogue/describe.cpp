#include "catalogue/describe.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "base/json.hpp"
#include "hatch/json.hpp"

namespace hatchd::catalogue {

namespace json = boost::json;

namespace {

// "30 s", "250 ms", "500 us": the largest unit that stays whole.
std::string duration_text(std::chrono::microseconds time) {
  const auto us = time.count();
  if (us % 1000000 == 0) return std::to_string(us / 1000000) + " s";
  if (us % 1000 == 0) return std::to_string(us / 1000) + " ms";
  return std::to_string(us) + " us";
}

// One argument for a POSIX shell; plain words stay as they are.
std::string shell_word(std::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_./=:@,+%").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(text);
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string scalar_text(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

// A value for a parameter without default: an example from the schema, else a placeholder.
std::string example_of(std::string_view name, const json::object& property) {
  if (const json::array* examples = array_of(property, "examples"); examples && !examples->empty())
    return scalar_text(examples->front());
  if (const json::array* values = array_of(property, "enum"); values && !values->empty())
    return scalar_text(values->front());
  // What would be refused is no example.
  const std::string type = text_of(property, "type");
  if (type == "integer" || type == "number") return std::to_string(number_of(property, "minimum", 1));
  if (type == "boolean") return "true";
  if (type == "array") return "[]";
  if (type == "object") return "{}";
  std::string placeholder(name);
  for (char& c : placeholder)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return placeholder;
}

std::string joined(const std::vector<std::string>& words, std::string_view none) {
  std::string text;
  for (const std::string& word : words) (text += text.empty() ? "" : ", ") += word;
  return text.empty() ? std::string(none) : text;
}

std::vector<std::string> targets_of(const Hatch& hatch, const std::vector<std::string>& targets) {
  std::vector<std::string> names;
  for (const std::string& name : targets)
    if (hatch.applies_to(name)) names.push_back(name);
  return names;
}

// `text` in lines of at most `width`, each behind `indent` spaces; its own line breaks stay.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = 78) {
  std::string out;
  const std::string clean = hatch::printable(text, true);
  for (std::size_t at = 0; at <= clean.size();) {
    const std::size_t end = std::min(clean.find('\n', at), clean.size());
    std::string_view rest = std::string_view(clean).substr(at, end - at);
    if (rest.empty()) out += '\n';
    while (!rest.empty()) {
      std::size_t cut = rest.size();
      if (rest.size() + indent > width) {
        cut = rest.rfind(' ', width - indent);
        if (cut == std::string_view::npos || cut == 0) cut = std::min(rest.find(' '), rest.size());
      }
      ((out += std::string(indent, ' ')) += rest.substr(0, cut)) += '\n';
      rest.remove_prefix(std::min(cut + 1, rest.size()));
    }
    at = end + 1;
  }
  return out;
}

std::string types_of(const json::object& property) {
  if (const json::array* values = array_of(property, "enum")) {
    std::string text;
    for (const json::value& value : *values) (text += text.empty() ? "" : "|") += scalar_text(value);
    return text;
  }
  return text_of(property, "type", "any");
}

std::string parameters_text(const Hatch& hatch) {
  const json::object* properties = object_of(hatch.parameters, "properties");
  if (!properties || properties->empty()) return "  none\n";
  const std::vector<std::string> required = texts_of(hatch.parameters, "required");
  std::string text;
  for (const auto& [name, value] : *properties) {
    const json::object* property = value.if_object();
    if (!property) continue;
    std::string line = std::string(name) + "  " + types_of(*property);
    if (const json::value* fallback = property->if_contains("default"))
      line += ", default " + json::serialize(*fallback);
    else if (std::find(required.begin(), required.end(), std::string_view(name.data(), name.size())) != required.end())
      line += ", required";
    if (flag_of(*property, "secret")) line += ", secret";
    if (property->contains("x-effect")) line += ", may raise the effect";
    text += "  " + hatch::printable(line) + "\n";
    if (const std::string description = text_of(*property, "description"); !description.empty())
      text += wrapped(description, 6);
  }
  return text;
}

}  // namespace

std::string curl_door(const Door& door) {
  if (!door.unix_path.empty()) return "curl --unix-socket " + shell_word(door.unix_path) + " h";
  return std::string("curl ") + (door.token ? "-H @token.header " : "") + door.origin;
}

std::string curl_line(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets) {
  std::string line = curl_door(door) + "/" + hatch.id;
  std::string data;
  const std::vector<std::string> names = targets_of(hatch, targets);
  if (hatch.target == Needs::required) data += " -d target=" + shell_word(names.empty() ? "TARGET" : names.front());
  const json::object* properties = object_of(hatch.parameters, "properties");
  for (const std::string& name : texts_of(hatch.parameters, "required")) {
    const json::object* property = properties ? object_of(*properties, name) : nullptr;
    if (name == "profile" || (property && property->contains("default"))) continue;
    // --data-urlencode: the example may hold '&' or '+'.
    data += " --data-urlencode " + shell_word(name + "=" + example_of(name, property ? *property : json::object{}));
  }
  if (!hatch.profiles.empty() &&
      std::find(hatch.profiles.begin(), hatch.profiles.end(), "default") == hatch.profiles.end() &&
      (hatch.profiles.size() > 1 || !hatch.kind.empty()))  // of another kind there may be more
    data += " -d profile=" + shell_word(hatch.profiles.front());
  return line + (data.empty() ? " -X POST" : data);
}

json::object describe(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets) {
  json::object object;
  object["id"] = hatch.id;
  if (!hatch.kind.empty()) object["kind"] = hatch.kind;
  object["plugin"] = hatch.plugin;
  object["title"] = hatch.title;
  object["documentation"] = hatch.documentation;
  object["effect"] = schema::to_string(hatch.effect);
  object["role"] = access::to_string(hatch.least_role());
  object["enabled"] = hatch.enabled;
  object["why_not"] = hatch.enabled ? json::value(nullptr) : json::value(hatch.why_not);
  if (!hatch.enabled && !hatch.remedy.empty()) object["remedy"] = hatch.remedy;
  object["target"] = to_string(hatch.target);
  object["targets"] = json::value_from(targets_of(hatch, targets));
  object["max_pause_us"] = hatch.max_pause.count();
  object["timeout_ms"] = hatch.timeout.count();
  object["cooldown_ms"] = hatch.cooldown.count();
  object["concurrency"] = hatch.concurrency;
  object["queue"] = hatch.queue;
  json::object& needs = object["needs"].emplace_object();
  needs["capabilities"] = json::value_from(hatch.capabilities);
  needs["requirements"] = json::value_from(hatch.requirements);
  needs["flags"] = json::value_from(hatch.flags);
  object["interactive"] = hatch.interactive;
  if (!hatch.family.empty()) object["stale"] = hatch.stale.empty() ? json::value(nullptr) : json::value(hatch.stale);
  if (!hatch.profiles.empty()) object["profiles"] = json::value_from(hatch.profiles);
  std::vector<std::string> renderings{"json", "text"};
  for (const std::string& name : hatch.renderings)
    if (std::find(renderings.begin(), renderings.end(), name) == renderings.end()) renderings.push_back(name);
  object["renderings"] = json::value_from(renderings);
  object["artifact_types"] = json::value_from(hatch.artifact_types);
  object["parameters"] = hatch.parameters;
  object["curl"] = curl_line(hatch, door, targets);
  object["href"] = "/v1/hatches/" + hatch.id;
  return object;
}

json::object describe(const Absent& absent) {
  return {{"plugin", absent.plugin},
          {"enabled", false},
          {"why_not", absent.problem.detail},
          {"problem", to_json(absent.problem)}};
}

std::string list_text(const std::vector<const Hatch*>& hatches, const std::vector<Absent>& absent) {
  std::map<std::string, std::vector<const Hatch*>> groups;
  std::size_t width = 0;
  for (const Hatch* hatch : hatches) {
    groups[hatch->plugin].push_back(hatch);
    width = std::max(width, hatch->id.size());
  }
  width = std::min<std::size_t>(width, 40);
  std::string text;
  for (const auto& [plugin, members] : groups) {
    text += (text.empty() ? "" : "\n") + plugin + "\n";
    for (const Hatch* hatch : members) {
      std::string line = "  " + hatch->id;
      line.resize(std::max(line.size(), width + 2), ' ');
      const std::string effect(schema::to_string(hatch->effect));
      line += "  " + effect + std::string(9 - std::min<std::size_t>(effect.size(), 8), ' ') + hatch->title;
      if (!hatch->kind.empty()) line += " (" + hatch->kind + ")";
      text += hatch::printable(line) + "\n";
      if (!hatch->stale.empty())
        text += std::string(width + 4, ' ') + "stale: " + hatch::printable(hatch->stale) + "\n";
      if (!hatch->enabled) text += std::string(width + 4, ' ') + "off: " + hatch::printable(hatch->why_not) + "\n";
    }
  }
  for (const Absent& plugin : absent)
    text += (text.empty() ? "" : "\n") + hatch::printable(plugin.plugin) +
            "\n  not loaded: " + hatch::printable(plugin.problem.detail) + "\n";
  return text.empty() ? "no hatches\n" : text;
}

std::string page_text(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets) {
  std::string text = hatch.id + " - " + hatch::printable(hatch.title) + "\n\n";
  if (!hatch.enabled)
    text += "  OFF: " + hatch::printable(hatch.why_not) +
            (hatch.remedy.empty() ? "" : "\n  remedy: " + hatch::printable(hatch.remedy)) + "\n\n";
  if (!hatch.stale.empty()) text += "  STALE: " + hatch::printable(hatch.stale) + "\n\n";
  if (!hatch.documentation.empty()) text += wrapped(hatch.documentation, 2) + "\n";
  const auto fact = [&](std::string name, const std::string& value) {
    name.resize(13, ' ');
    text += "  " + name + hatch::printable(value) + "\n";
  };
  fact("effect", std::string(schema::to_string(hatch.effect)) + " (role " +
                     std::string(access::to_string(hatch.least_role())) + ")");
  fact("pause", hatch.max_pause.count() == 0 ? "never pauses the target" : "at most " + duration_text(hatch.max_pause));
  fact("time limit", duration_text(hatch.timeout) +
                         (hatch.cooldown.count() > 0 ? ", then a rest of " + duration_text(hatch.cooldown) : ""));
  fact("target", std::string(to_string(hatch.target)) +
                     (hatch.target == Needs::none ? "" : ": " + joined(targets_of(hatch, targets), "none configured")));
  fact("capabilities", joined(hatch.capabilities, "none"));
  if (!hatch.profiles.empty()) fact("profiles", joined(hatch.profiles, "none"));
  if (!hatch.renderings.empty()) fact("renderings", "json, text, " + joined(hatch.renderings, ""));
  text += "\nPARAMETERS\n" + parameters_text(hatch);
  text += "\nRUN\n  " + hatch::printable(curl_line(hatch, door, targets)) + "\n";
  return text;
}

}  // namespace hatchd::catalogue
