// The way from files to structs. Each step adds its faults, and the later steps still run where they can: whoever
// repairs a configuration wants to know everything at once.
#include <algorithm>
#include <array>
#include <tuple>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "config/config.hpp"
#include "config/instance.hpp"
#include "config/read.hpp"
#include "config/relations.hpp"
#include "config/secrets.hpp"
#include "config/structs.hpp"
#include "hatch/json.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

constexpr std::array plugin_settings{"path", "capabilities"};  // ours, and no secret

// ${NAME} where it is no secret: in what the front reads again, without our environment.
void substitute_settings(json::object& configuration, std::vector<FieldError>& errors) {
  if (json::value* access = configuration.if_contains("access")) substitute(*access, "/access", errors);
  json::value* plugins = configuration.if_contains("plugins");
  if (plugins == nullptr || !plugins->is_object()) return;
  for (auto& plugin : plugins->get_object())
    if (plugin.value().is_object())
      for (const char* key : plugin_settings)
        if (json::value* setting = plugin.value().get_object().if_contains(key))
          substitute(*setting,
                     schema::child(schema::child("/plugins", std::string_view(plugin.key())), std::string_view(key)),
                     errors);
}

// ${NAME} in what a recipe sends or starts.
void substitute_recipes(json::object& configuration, std::vector<FieldError>& errors) {
  json::value* hatches = configuration.if_contains("hatches");
  if (hatches == nullptr || !hatches->is_object()) return;
  for (auto& hatch : hatches->get_object()) {
    json::object* recipe = hatch.value().if_object();
    if (recipe == nullptr) continue;
    const std::string at = schema::child("/hatches", std::string_view(hatch.key()));
    for (const char* part : {"request", "argv", "environment"})
      if (json::value* sent = recipe->if_contains(part))
        substitute(*sent, schema::child(at, std::string_view(part)), errors);
  }
}

// ${NAME} in where a target's log is: tokens of an error tracker.
void substitute_logs(json::object& configuration, std::vector<FieldError>& errors) {
  json::value* targets = configuration.if_contains("targets");
  if (targets == nullptr || !targets->is_object()) return;
  for (auto& target : targets->get_object())
    if (json::object* match = target.value().if_object())
      if (json::value* log = match->if_contains("log"))
        substitute(*log, schema::child("/targets", std::string_view(target.key())) + "/log", errors);
}

// ${NAME} in profiles, plugins' own keys, logs and recipes: in what becomes structs, not in what is shown.
json::object with_secrets(const json::object& effective, std::vector<FieldError>& errors) {
  json::object copy = effective;
  substitute_recipes(copy, errors);
  substitute_logs(copy, errors);
  json::value* plugins = copy.if_contains("plugins");
  if (plugins == nullptr || !plugins->is_object()) return copy;
  for (auto& plugin : plugins->get_object()) {
    json::object* settings = plugin.value().if_object();
    if (settings == nullptr) continue;
    for (auto& member : *settings)
      if (std::find(plugin_settings.begin(), plugin_settings.end(), member.key()) == plugin_settings.end())
        substitute(
            member.value(),
            schema::child(schema::child("/plugins", std::string_view(plugin.key())), std::string_view(member.key())),
            errors);
  }
  return copy;
}

// The place of a pointer, or of the nearest thing around it that is written somewhere.
Place place_of(const std::map<std::string, Place>& places, const std::string& pointer) {
  for (std::string around = pointer;; around.resize(around.rfind('/'))) {
    if (const auto found = places.find(around); found != places.end())
      return {found->second.file, found->second.line, pointer};
    if (around.empty()) return {"", 0, pointer};
  }
}

// From what was merged to structs; `loaded.places` and the faults of reading are there.
void finish(Loaded& loaded, CheckTargets check_targets) {
  std::vector<FieldError> errors;
  const auto add = [&](std::vector<FieldError> more, const std::string& below = {}) {
    for (FieldError& error : more) errors.push_back({below + error.pointer, std::move(error.detail)});
  };
  substitute_settings(loaded.effective, errors);
  json::value whole(std::move(loaded.effective));
  const auto invalid = schema::validate(schema(), whole);
  loaded.effective = std::move(whole.get_object());
  add(invalid);
  add(check_relations(loaded.effective));
  const json::object* targets = object_of(loaded.effective, "targets");
  if (check_targets != nullptr && targets != nullptr && invalid.empty()) add(check_targets(*targets), "/targets");
  const json::object resolved = with_secrets(loaded.effective, errors);

  std::vector<Fault> faults;
  for (FieldError& error : errors) faults.push_back(fault_at(loaded, std::move(error)));
  // In the order of the file that a person has open.
  std::stable_sort(faults.begin(), faults.end(), [](const Fault& a, const Fault& b) {
    return std::tie(a.place.file, a.place.line) < std::tie(b.place.file, b.place.line);
  });
  loaded.faults.insert(loaded.faults.end(), faults.begin(), faults.end());
  if (loaded.faults.empty()) loaded.config = to_structs(resolved);
}

// Before validation, so that what is left is checked as if it had been written.
void narrow(json::object& merged, const Instance& instance) {
  json::object listener{{"unix", instance.folder + "/hatchd.sock"}};
  if (const json::array* listen = array_of(merged, "listen"))
    for (const json::value& value : *listen)
      if (const json::object* entry = value.if_object(); entry && entry->contains("unix")) {
        for (const char* key : {"mode", "group"})
          if (const json::value* given = entry->if_contains(key)) listener[key] = *given;
        break;
      }
  merged["listen"] = json::array{std::move(listener)};

  const std::string unit = instance.unit.find('.') == std::string::npos ? instance.unit + ".service" : instance.unit;
  json::object targets;
  if (const json::object* all = object_of(merged, "targets"))
    for (const auto& target : *all)
      if (const json::object* matcher = target.value().if_object(); matcher && text_of(*matcher, "unit") == unit)
        targets[target.key()] = *matcher;
  if (targets.empty()) {
    std::string name = unit.substr(0, unit.rfind('.')).substr(0, 64);
    for (char& c : name)
      if (c == '@' || c == ':' || c == '\\') c = '-';  // what a unit may be called and a target may not
    targets[name] = json::object{{"unit", unit}};
  }
  // Hatches that are bound to targets of other instances are not for this one.
  if (json::value* hatches = merged.if_contains("hatches"); hatches && hatches->is_object()) {
    json::object kept;
    for (const auto& hatch : hatches->get_object()) {
      const json::object* own = hatch.value().if_object();
      const std::string bound = own ? text_of(*own, "target") : "";
      if (bound.empty() || targets.contains(bound)) kept[hatch.key()] = hatch.value();
    }
    *hatches = std::move(kept);
  }
  merged["targets"] = std::move(targets);
  if (json::value& runs = merged["runs"]; !runs.is_object()) runs.emplace_object();
  merged["runs"].get_object()["directory"] = instance.runs;
  if (json::value* audit = merged.if_contains("audit"); audit && audit->is_object()) audit->get_object().erase("file");
}

Loaded load_files(const std::string& file, const Instance* instance, CheckTargets check_targets) {
  Read read = read_files(file);
  if (instance) narrow(read.merged, *instance);
  Loaded loaded;
  loaded.effective = std::move(read.merged);
  loaded.places = std::move(read.places);
  loaded.faults = std::move(read.faults);
  // What stands in a file that could not be read would seem to be missing.
  if (read.whole) finish(loaded, check_targets);
  return loaded;
}

}  // namespace

Loaded load(const std::string& file, CheckTargets check_targets) { return load_files(file, nullptr, check_targets); }

Loaded load(const std::string& file, const Instance& instance, CheckTargets check_targets) {
  return load_files(file, &instance, check_targets);
}

Loaded from_json(json::object effective, CheckTargets check_targets) {
  Loaded loaded;
  loaded.effective = std::move(effective);
  finish(loaded, check_targets);
  return loaded;
}

Fault fault_at(const Loaded& loaded, FieldError error) {
  return {place_of(loaded.places, error.pointer), std::move(error.detail)};
}

std::string to_string(const Fault& fault) {
  std::string out = fault.place.file;
  if (fault.place.line > 0) out += ":" + std::to_string(fault.place.line);
  if (!fault.place.pointer.empty()) out += (out.empty() ? "" : ": ") + fault.place.pointer;
  return hatch::printable(out.empty() ? fault.detail : out + ": " + fault.detail);
}

}  // namespace hatchd::config
