#include "catalogue/members.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "hatch/json.hpp"
#include "schema/words.hpp"

namespace hatchd::catalogue {

namespace json = boost::json;

namespace {

constexpr std::size_t max_members = 256;
constexpr std::size_t max_title = 200, max_documentation = 20'000;
// Of the request itself (http/body.cpp), and what the family adds.
constexpr std::string_view taken_names[] = {"target", "format",  "reason",  "processes", "dry_run",
                                            "wait",   "profile", "workers", "dry-run"};

std::string why_unusable(const json::object& parameters) {
  if (auto errors = schema::check(parameters); !errors.empty())
    return "the app describes its parameters in a way that hatchd does not understand: " + errors[0].pointer + ": " +
           errors[0].detail;
  if (text_of(parameters, "type") != "object") return "the app does not describe its parameters as an object";
  if (const json::object* properties = object_of(parameters, "properties"))
    for (const std::string_view name : taken_names)
      if (properties->contains(name))
        return "its parameter \"" + std::string(name) + "\" has a name that hatchd takes for the request itself";
  return {};
}

void apply(Hatch& hatch, const Setting& setting) {
  if (setting.timeout) hatch.timeout = *setting.timeout;
  if (setting.cooldown) hatch.cooldown = *setting.cooldown;
  if (setting.concurrency) hatch.concurrency = *setting.concurrency;
  if (setting.queue) hatch.queue = *setting.queue;
  hatch.role = std::max(hatch.role, access::parse_role(setting.role));
  if (schema::Effect effect{}; schema::parse_effect(setting.effect, effect))
    hatch.effect = std::max(hatch.effect, effect);
}

bool alike(const Hatch& a, const Hatch& b) {
  return a.id == b.id && a.title == b.title && a.documentation == b.documentation && a.effect == b.effect &&
         a.role == b.role && a.timeout == b.timeout && a.enabled == b.enabled && a.why_not == b.why_not &&
         a.stale == b.stale && a.parameters == b.parameters;
}

}  // namespace

std::vector<Hatch> members_of(const Hatch& family, const std::string& target, const json::array& described,
                              const Settings& settings) {
  const std::string group = family.id.substr(0, family.id.find('.') + 1);
  std::vector<Hatch> members;
  for (const json::value& value : described) {
    const json::object* entry = value.if_object();
    const std::string name = entry ? text_of(*entry, "name") : std::string();
    if (name.empty() || members.size() >= max_members || !schema::format_failure("hatch-id", group + name).empty())
      continue;
    Hatch hatch = family;
    hatch.family = family.id;
    hatch.id = group + name;
    hatch.bound_to = {target};
    hatch.requirements.clear();
    hatch.title = hatch::printable(text_of(*entry, "title").substr(0, max_title));
    hatch.documentation = hatch::printable(text_of(*entry, "documentation").substr(0, max_documentation), true);
    if (!schema::parse_effect(text_of(*entry, "effect"), hatch.effect)) hatch.effect = schema::Effect::disrupt;
    hatch.role = std::max(family.role, access::parse_role(text_of(*entry, "role")));
    if (const std::int64_t limit = number_of(*entry, "timeout_ms"); limit > 0)
      hatch.timeout = std::min(family.timeout, std::chrono::milliseconds(limit));
    hatch.preflight = false;  // the family's own answers which members there are
    hatch.parameters = {{"type", "object"}};
    hatch.enabled = family.enabled;

    const auto setting = settings.find(hatch.id);
    if (setting != settings.end()) apply(hatch, setting->second);
    const bool named_on = setting != settings.end() && setting->second.enabled.value_or(false);
    const std::string key = "\"hatches\": {\"" + hatch.id + "\": {\"enabled\": true}} in the configuration";
    std::string unusable;
    if (const json::object* parameters = object_of(*entry, "parameters")) {
      unusable = why_unusable(*parameters);
      if (unusable.empty()) hatch.parameters = *parameters;
    }
    if (!unusable.empty()) {
      hatch.enabled = false;
      hatch.why_not = std::move(unusable);
    } else if (setting != settings.end() && !setting->second.enabled.value_or(true)) {
      hatch.enabled = false;
      hatch.why_not = "the configuration switches it off";
      hatch.remedy = key;
    } else if (hatch.effect == schema::Effect::disrupt && !named_on) {
      hatch.enabled = false;
      hatch.why_not = "it disrupts, so it is off until it is named";
      hatch.remedy = key;
    }
    if (!hatch.parameters.contains("additionalProperties")) hatch.parameters["additionalProperties"] = false;
    json::value& properties = hatch.parameters["properties"];
    if (!properties.is_object()) properties = json::object{};
    for (auto& property : properties.get_object())
      if (json::object* schema = property.value().if_object(); schema && text_of(*schema, "description").empty())
        (*schema)["description"] = "The app does not say what this is.";
    properties.get_object()["workers"] = {{"type", "string"},
                                          {"enum", {"one", "all"}},
                                          {"default", "one"},
                                          {"description", "In one process of the target, or in each that has it"}};
    members.push_back(std::move(hatch));
  }
  return members;
}

std::vector<Hatch> merged(std::vector<Hatch> members) {
  std::vector<Hatch> distinct;
  for (Hatch& member : members) {
    const auto same =
        std::find_if(distinct.begin(), distinct.end(), [&](const Hatch& other) { return alike(other, member); });
    if (same == distinct.end())
      distinct.push_back(std::move(member));
    else
      same->bound_to.insert(same->bound_to.end(), member.bound_to.begin(), member.bound_to.end());
  }
  return distinct;
}

}  // namespace hatchd::catalogue
