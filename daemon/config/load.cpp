// The way from files to structs. Each step adds its faults, and the later steps still run where they can: whoever
// repairs a configuration wants to know everything at once.
#include <algorithm>
#include <array>
#include <tuple>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "config/config.hpp"
#include "config/read.hpp"
#include "config/relations.hpp"
#include "config/secrets.hpp"
#include "config/structs.hpp"
#include "config/unsupported.hpp"
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

// ${NAME} in profiles and plugins' own keys: in what becomes structs, not in what is shown.
json::object with_secrets(const json::object& effective, std::vector<FieldError>& errors) {
  json::object copy = effective;
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
  add(find_unsupported(loaded.effective));
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

}  // namespace

Loaded load(const std::string& file, CheckTargets check_targets) {
  Read read = read_files(file);
  Loaded loaded;
  loaded.effective = std::move(read.merged);
  loaded.places = std::move(read.places);
  loaded.faults = std::move(read.faults);
  // What stands in a file that could not be read would seem to be missing.
  if (read.whole) finish(loaded, check_targets);
  return loaded;
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
