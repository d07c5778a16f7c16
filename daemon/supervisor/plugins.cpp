#include "supervisor/plugins.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rights.hpp"
#include "config/read.hpp"
#include "link/outcome.hpp"
#include "schema/schema.hpp"
#include "supervisor/spawn.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

// What a packaged plugin may have at most; others have what plugins.NAME.capabilities says.
// stack: seize and read other users' threads, read their memory and files, open their mapped files.
const std::map<std::string, std::vector<std::string>> packaged_grants = {
    {"stack", {"sys_ptrace", "dac_read_search", "checkpoint_restore"}},
};

constexpr std::chrono::seconds manifest_patience{5};
constexpr std::size_t max_plugins = 64;

// One manifest being read in a child.
struct Reading {
  LoadedPlugin* plugin;
  Spawned child;
};

void read_manifest(Reading& reading, std::chrono::steady_clock::time_point deadline) {
  LoadedPlugin& plugin = *reading.plugin;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  link::Message answer;
  const link::Received received = reading.child.channel.wait(answer, left > 0 ? static_cast<int>(left) : 0);
  if (received == link::Received::message && answer.type == "manifest") {
    answer.body.erase("type");
    const std::string own_name = text_of(answer.body, "plugin");
    // One name for a plugin everywhere: in the configuration, in the catalogue, in ps.
    if (own_name == plugin.name)
      plugin.manifest = std::move(answer.body);
    else
      plugin.why_broken = "it calls itself \"" + own_name + "\", not \"" + plugin.name + "\": " +
                          (plugin.packaged ? "its file must be " + own_name + ".so"
                                           : "write \"plugins\": {\"" + own_name + "\": {\"path\": …}}");
  } else if (received == link::Received::message && answer.type == "failed") {
    const json::object* problem = object_of(answer.body, "problem");
    plugin.why_broken = problem ? text_of(*problem, "detail") : "it could not be opened";
  } else if (received == link::Received::nothing) {
    plugin.why_broken = "it did not describe itself within 5 s";
  }
  ::kill(reading.child.pid, SIGKILL);
  int status = 0;
  ::waitpid(reading.child.pid, &status, 0);
  if (plugin.manifest.empty() && plugin.why_broken.empty())
    plugin.why_broken =
        "opening it ended with " + (WIFSIGNALED(status) ? link::death_text("signal", WTERMSIG(status))
                                                        : link::death_text("exit", WEXITSTATUS(status)));
}

// One object of the configuration against the plugin's own schema; the first failures as a sentence, "" when it is
// valid.
std::string check_part(const json::object* schema, json::object& part, const std::string& where) {
  if (!schema) return part.empty() ? "" : where + ": the plugin takes no such keys";
  json::value value = std::move(part);
  std::vector<FieldError> errors = config::resolve_secrets(*schema, value);
  if (errors.empty()) errors = schema::validate(*schema, value);
  part = std::move(value.as_object());
  std::string text;
  for (std::size_t i = 0; i < errors.size() && i < 5; ++i)
    text += (i ? "; " : "") + where + errors[i].pointer + ": " + errors[i].detail;
  return text;
}

// Takes over the plugin's part of the configuration, checked against the schemas of its manifest.
void configure(LoadedPlugin& plugin, const config::Plugin& configured) {
  const std::string where = "/plugins/" + plugin.name;
  plugin.configuration = configured.own;
  plugin.why_broken = check_part(object_of(plugin.manifest, "configuration"), plugin.configuration, where);
  plugin.profiles = configured.profiles;
  for (auto& entry : plugin.profiles) {
    if (!plugin.why_broken.empty()) return;
    if (!entry.value().is_object()) continue;  // the configuration's schema has said so already
    plugin.why_broken = check_part(object_of(plugin.manifest, "profile"), entry.value().get_object(),
                                   where + "/profiles/" + std::string(entry.key()));
  }
}

std::string upper_of(std::string_view effect, std::string_view other) {
  schema::Effect a = schema::Effect::observe, b = schema::Effect::observe;
  schema::parse_effect(effect, a);
  schema::parse_effect(other, b);
  return std::string(schema::to_string(std::max(a, b)));
}

// Why a hatch is not on, and the key that changes it; empty when it is on.
struct Off {
  std::string why, remedy;
};

Off why_not(const json::object& hatch, const std::string& id, const LoadedPlugin& plugin,
            const config::Config& config) {
  const auto own = config.hatches.find(id);
  const bool named_on = own != config.hatches.end() && own->second.enabled.value_or(false);
  const bool named_off = own != config.hatches.end() && !own->second.enabled.value_or(true);
  const std::string enable = "\"hatches\": {\"" + id + "\": {\"enabled\": true}} in the configuration";
  if (named_off) return {"the configuration switches it off", enable};
  if (text_of(hatch, "effect") == "disrupt" && !named_on)
    return {"it disrupts, so it is off until it is named", enable + " (hatchd --pid: --enable " + id + ")"};
  if (plugin.manifest.contains("profile")) {
    const auto configured = config.plugins.find(plugin.name);
    if (configured == config.plugins.end() || configured->second.profiles.empty())
      return {"its plugin has no profile",
              "\"plugins\": {\"" + plugin.name + "\": {\"profiles\": {\"default\": {…}}}} in the configuration"};
  }
  return {};
}

}  // namespace

Result<UniqueFd> open_trusted(const std::string& file) {
  UniqueFd object{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!object) return refuse("internal", file + ": " + errno_text(errno));
  struct stat info {};
  if (::fstat(object.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return refuse("internal", file + " is not a regular file");
  if (std::string why = config::why_untrusted(file, object.get()); !why.empty())
    return refuse("internal", std::move(why));
  return object;
}

std::vector<std::string> plugin_directories(const config::Config& config) {
  if (!config.plugin_directories.empty()) return config.plugin_directories;
  const fs::path bin = fs::path(own_program()).parent_path();
  for (const char* place : {"../plugins", "../lib/hatchd/plugins"})
    if (const auto path = (bin / place).lexically_normal(); fs::is_directory(path)) return {path.string()};
  return {};
}

Plugins load_plugins(const config::Config& config, const std::vector<std::string>& directories,
                     const std::string& worker, const Identity& identity) {
  std::vector<LoadedPlugin> found;
  for (const std::string& directory : directories) {
    std::error_code error;
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(directory, error))
      if (entry.path().extension() == ".so") files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) {
      const std::string name = fs::path(file).stem().string();
      const auto configured = config.plugins.find(name);
      if (configured != config.plugins.end() && (!configured->second.enabled || !configured->second.path.empty()))
        continue;
      found.push_back({.name = name, .file = file, .packaged = true});
    }
  }
  for (const auto& [name, plugin] : config.plugins)
    if (plugin.enabled && !plugin.path.empty()) found.push_back({.name = name, .file = plugin.path});
  if (found.size() > max_plugins) {
    log::warning("too many plugins, the rest is left out", {{"limit", max_plugins}});
    found.erase(found.begin() + max_plugins, found.end());
  }

  // All children at once: opening one takes milliseconds, and a hanging one must not hold up the others.
  std::vector<Reading> readings;
  const json::object rights = rights::to_json({identity.uid, identity.gid, {}});
  for (LoadedPlugin& plugin : found) {
    auto object = open_trusted(plugin.file);
    if (!object) {
      plugin.why_broken = object.error().detail;
      continue;
    }
    plugin.object = std::make_shared<UniqueFd>(std::move(*object));
    auto child = spawn(worker, "hatchd: manifest " + plugin.name);
    if (!child) {
      plugin.why_broken = child.error().detail;
      continue;
    }
    const int fds[] = {plugin.object->get()};
    child->channel.send("setup", {{"role", "manifest"}, {"rights", rights}}, fds);
    readings.push_back({&plugin, std::move(*child)});
  }
  const auto deadline = std::chrono::steady_clock::now() + manifest_patience;
  for (Reading& reading : readings) read_manifest(reading, deadline);

  Plugins plugins;
  for (LoadedPlugin& plugin : found) {
    const std::string& key = plugin.name;
    const auto configured = config.plugins.find(key);
    if (plugin.why_broken.empty() && configured != config.plugins.end()) configure(plugin, configured->second);
    std::vector<std::string> declared;
    if (const json::array* hatches = array_of(plugin.manifest, "hatches"))
      for (const json::value& hatch : *hatches)
        if (const json::object* entry = hatch.if_object())
          for (std::string& capability : texts_of(*entry, "capabilities")) declared.push_back(std::move(capability));
    std::vector<std::string> granted;
    if (plugin.packaged) {
      if (const auto grant = packaged_grants.find(key); grant != packaged_grants.end()) granted = grant->second;
    } else if (configured != config.plugins.end()) {
      granted = configured->second.capabilities;
    }
    for (const std::string& capability : granted)
      if (rights::is_capability(capability) &&
          std::find(declared.begin(), declared.end(), capability) != declared.end())
        plugin.capabilities.push_back(capability);

    if (plugins.count(key)) {
      log::warning("two plugins of one name, the second is left out", {{"plugin", key}, {"file", plugin.file}});
      continue;
    }
    plugins.emplace(std::string(key), std::move(plugin));
  }
  return plugins;
}

Plugins reconfigured(const Plugins& plugins, const config::Config& config, std::vector<std::string>& failures) {
  Plugins changed = plugins;
  for (auto& [name, plugin] : changed) {
    if (plugin.manifest.empty()) continue;  // it could not be opened, and that has nothing to do with its configuration
    plugin.configuration = plugin.profiles = {};
    plugin.why_broken.clear();
    if (const auto configured = config.plugins.find(name); configured != config.plugins.end())
      configure(plugin, configured->second);
    if (!plugin.why_broken.empty()) failures.push_back(plugin.why_broken);
  }
  return changed;
}

json::array catalogue(const Plugins& plugins, const config::Config& config) {
  json::array all;
  std::map<std::string, std::string> owners;  // "id kind" → plugin: the pair is unique
  for (const auto& [name, plugin] : plugins) {
    if (!plugin.why_broken.empty()) {
      all.push_back(json::object{{"plugin", name}, {"problem", to_json(Problem{"plugin-broken", plugin.why_broken})}});
      continue;
    }
    json::object entry = plugin.manifest;
    json::array& hatches = entry["hatches"].as_array();
    for (json::value& value : hatches) {
      json::object& hatch = value.as_object();
      const std::string id = text_of(hatch, "id");
      const auto own = config.hatches.find(id);
      if (own != config.hatches.end()) {
        const config::Hatch& limits = own->second;
        if (limits.timeout) hatch["timeout_ms"] = limits.timeout->count();
        if (limits.max_pause) hatch["max_pause_us"] = limits.max_pause->count();
        if (limits.cooldown) hatch["cooldown_ms"] = limits.cooldown->count();
        if (limits.concurrency) hatch["concurrency"] = *limits.concurrency;
        if (!limits.role.empty()) hatch["role"] = limits.role;
        if (!limits.effect.empty()) hatch["effect"] = upper_of(text_of(hatch, "effect"), limits.effect);
      }
      json::array profiles;
      if (const auto configured = config.plugins.find(name); configured != config.plugins.end())
        for (const auto& profile : configured->second.profiles) profiles.emplace_back(profile.key());
      hatch["profiles"] = std::move(profiles);

      Off off = why_not(hatch, id, plugin, config);
      const auto [owner, fresh] = owners.emplace(id + " " + text_of(hatch, "kind"), name);
      if (!fresh) {
        off = {"the plugin " + owner->second + " brings a hatch of the same id and kind",
               "enable one of the two plugins"};
        log::warning("a hatch is left out", {{"plugin", name}, {"hatch", id}, {"why", off.why}});
      }
      hatch["enabled"] = off.why.empty();
      if (!off.why.empty()) hatch["why_not"] = off.why;
      if (!off.remedy.empty()) hatch["remedy"] = off.remedy;
    }
    all.push_back(std::move(entry));
  }
  return all;
}

json::object enabled_hatches(const json::array& catalogue, const std::string& plugin) {
  json::object enabled;
  for (const json::value& value : catalogue) {
    const json::object& entry = value.as_object();
    const json::array* hatches = array_of(entry, "hatches");
    if (text_of(entry, "plugin") != plugin || !hatches) continue;
    for (const json::value& each : *hatches) {
      const json::object& hatch = each.as_object();
      if (!flag_of(hatch, "enabled")) continue;
      const std::string kind = text_of(hatch, "kind");
      json::object limits{{"timeout_ms", number_of(hatch, "timeout_ms", 30000)},
                          {"max_pause_us", number_of(hatch, "max_pause_us")}};
      if (!kind.empty()) limits["kind"] = kind;
      enabled[text_of(hatch, "id") + (kind.empty() ? "" : " " + kind)] = std::move(limits);
    }
  }
  return enabled;
}

}  // namespace hatchd::supervisor
