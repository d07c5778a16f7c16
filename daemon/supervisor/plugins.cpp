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
#include "base/program.hpp"
#include "base/rights.hpp"
#include "config/read.hpp"
#include "link/outcome.hpp"
#include "schema/schema.hpp"
#include "schema/words.hpp"
#include "supervisor/recipes.hpp"
#include "supervisor/spawn.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

// What a packaged plugin has; others have what plugins.NAME.capabilities says.
// stack: seize and read other users' threads, read their memory and files, open their mapped files; kill: the signals
// that stack.signal sends, and the one that Node.js waits for, to open its inspector (stack.dump with act=true).
// settings: the same files of /proc, which ask for both.
// app: reach the socket in the file system of another user's process, and the files that it logs into.
const std::map<std::string, std::vector<std::string>> packaged_grants = {
    {"stack", {"sys_ptrace", "dac_read_search", "checkpoint_restore", "kill"}},
    {"settings", {"sys_ptrace", "dac_read_search"}},
    {"app", {"sys_ptrace", "dac_read_search"}},
    {"recipe", {"kill"}},  // signals to processes of other users
};
// What it gets besides where plugins.NAME.capabilities asks for it, since it makes nearly root of the plugin.
// stack: acting as the target's user, the only one that a JVM's attach socket serves. recipe: commands with a user.
// settings: asking a JVM there.
// mail, queue: entering the target's network namespace (network=target).
const std::map<std::string, std::vector<std::string>> packaged_extras = {
    {"stack", {"setuid", "setgid"}},   {"recipe", {"setuid", "setgid"}}, {"settings", {"setuid", "setgid", "kill"}},
    {"mail", {"sys_admin"}},           {"queue-celery", {"sys_admin"}},  {"queue-redis", {"sys_admin"}},
    {"queue-rabbitmq", {"sys_admin"}},
};

// The kinds that a plugin serves, by the group of the hatch: {"queue": ["celery"]} for queue.ping of kind celery.
std::map<std::string, std::vector<std::string>> kinds_of(const LoadedPlugin& plugin) {
  std::map<std::string, std::vector<std::string>> kinds;
  if (const json::array* hatches = array_of(plugin.manifest, "hatches"))
    for (const json::value& value : *hatches)
      if (const json::object* hatch = value.if_object(); hatch && !text_of(*hatch, "kind").empty()) {
        const std::string id = text_of(*hatch, "id");
        kinds[id.substr(0, id.find('.'))].push_back(text_of(*hatch, "kind"));
      }
  return kinds;
}

// Declared and granted by us or by the operator.
std::vector<std::string> grant_of(const LoadedPlugin& plugin, const config::Config& config) {
  std::vector<std::string> asked;
  const auto take = [&](const std::string& name) {
    if (const auto configured = config.plugins.find(name); configured != config.plugins.end())
      asked.insert(asked.end(), configured->second.capabilities.begin(), configured->second.capabilities.end());
  };
  take(plugin.name);
  // Of several plugins that share a part of the configuration (queue), each is granted what that part says.
  if (plugin.packaged)
    for (const auto& [group, kinds] : kinds_of(plugin))
      if (group != plugin.name) take(group);
  if (!plugin.packaged) return asked;
  std::vector<std::string> granted;
  if (const auto grant = packaged_grants.find(plugin.name); grant != packaged_grants.end()) granted = grant->second;
  const auto extras = packaged_extras.find(plugin.name);
  for (const std::string& capability : asked) {
    const auto held = std::find(granted.begin(), granted.end(), capability);
    if (held != granted.end()) continue;
    if (extras != packaged_extras.end() &&
        std::find(extras->second.begin(), extras->second.end(), capability) != extras->second.end())
      granted.push_back(capability);
    else
      log::warning("a packaged plugin has no use for this capability, so it is not granted",
                   {{"plugin", plugin.name}, {"capability", capability}});
  }
  return granted;
}

// For all of them together, which share the machine: one that is only slow on a loaded host is missing until a restart.
constexpr std::chrono::seconds manifest_patience{10};
constexpr std::size_t max_plugins = 64;

// One manifest that a child of the worker reads.
struct Reading {
  LoadedPlugin* plugin;
  link::Channel channel;
};

void read_manifest(Reading& reading, std::chrono::steady_clock::time_point deadline) {
  LoadedPlugin& plugin = *reading.plugin;
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
  link::Message answer;
  const link::Received received = reading.channel.wait(answer, left > 0 ? static_cast<int>(left) : 0);
  if (received == link::Received::nothing) {
    plugin.why_broken = "it did not describe itself within " + std::to_string(manifest_patience.count()) + " s";
  } else if (received != link::Received::message) {
    plugin.why_broken = "the process that opens plugins ended before it was described";
  } else if (answer.type == "manifest") {
    answer.body.erase("type");
    const std::string own_name = text_of(answer.body, "plugin");
    // One name for a plugin everywhere: in the configuration, in the catalogue, in ps.
    if (own_name == plugin.name)
      plugin.manifest = std::move(answer.body);
    else
      plugin.why_broken = "it calls itself \"" + own_name + "\", not \"" + plugin.name + "\": " +
                          (plugin.packaged ? "its file must be " + own_name + ".so"
                                           : "write \"plugins\": {\"" + own_name + "\": {\"path\": …}}");
  } else if (answer.type == "ended") {
    plugin.why_broken = "opening it ended with " + link::death_text(text_of(answer.body, "how"),
                                                                    static_cast<int>(number_of(answer.body, "status")));
  } else {
    const json::object* problem = object_of(answer.body, "problem");
    plugin.why_broken = problem ? text_of(*problem, "detail") : "it could not be opened";
  }
}

// In one worker, which forks a child for each: all at once, so that one that hangs holds up nobody, and without an exec
// for each, which would be most of the time that hatchd takes to start.
void read_manifests(std::vector<LoadedPlugin>& plugins, const std::string& worker, const Identity& identity) {
  std::vector<Reading> readings;
  std::vector<UniqueFd> answers;
  std::vector<int> fds;
  json::array names;
  for (LoadedPlugin& plugin : plugins) {
    auto object = open_trusted(plugin.file);
    if (!object) {
      plugin.why_broken = object.error().detail;
      continue;
    }
    plugin.object = std::make_shared<UniqueFd>(std::move(*object));
    auto [ours, theirs] = link::Channel::pair();
    fds.insert(fds.end(), {plugin.object->get(), theirs.get()});
    answers.push_back(std::move(theirs));
    names.emplace_back(plugin.name);
    readings.push_back({&plugin, link::Channel{std::move(ours)}});
  }
  if (readings.empty()) return;
  auto child = spawn(worker, "hatchd: manifests");
  if (!child) {
    for (Reading& reading : readings) reading.plugin->why_broken = child.error().detail;
    return;
  }
  const auto deadline = std::chrono::steady_clock::now() + manifest_patience;
  child->channel.send("setup",
                      {{"role", "manifests"},
                       {"rights", rights::to_json({identity.uid, identity.gid, {}})},
                       {"names", std::move(names)}},
                      fds);
  answers.clear();  // a worker that ends is noticed by its channels
  for (Reading& reading : readings) read_manifest(reading, deadline);
  ::kill(child->pid, SIGKILL);  // and with it a child that hangs
  ::waitpid(child->pid, nullptr, 0);
}

// One object of the configuration against the plugin's own schema; the first failures as a sentence, "" when it is
// valid.
std::string check_part(const json::object* schema, json::object& part, const std::string& where,
                       std::vector<FieldError>& faults) {
  if (!schema) {
    if (part.empty()) return "";
    faults.push_back({where, "the plugin takes no such keys"});
    return where + ": the plugin takes no such keys";
  }
  json::value value = std::move(part);
  std::vector<FieldError> errors = config::resolve_secrets(*schema, value);
  if (errors.empty()) errors = schema::validate(*schema, value);
  part = std::move(value.as_object());
  for (const FieldError& error : errors) faults.push_back({where + error.pointer, error.detail});
  std::string text;
  for (std::size_t i = 0; i < errors.size() && i < 5; ++i)
    text += (i ? "; " : "") + where + errors[i].pointer + ": " + errors[i].detail;
  return text;
}

// Takes over the profiles, checked against the plugin's schema: all of them, or those of the kinds that it serves.
void take_profiles(LoadedPlugin& plugin, const json::object& profiles, const std::string& where,
                   const std::vector<std::string>* kinds) {
  for (const auto& entry : profiles) {
    json::value profile = entry.value();
    if (!profile.is_object()) continue;  // the configuration's schema has said so already
    if (kinds && std::find(kinds->begin(), kinds->end(), text_of(profile.get_object(), "kind")) == kinds->end())
      continue;
    const std::string why = check_part(object_of(plugin.manifest, "profile"), profile.get_object(),
                                       where + "/profiles/" + std::string(entry.key()), plugin.faults);
    if (plugin.why_broken.empty()) plugin.why_broken = why;
    plugin.profiles[entry.key()] = std::move(profile);
  }
}

// The plugin's part of the configuration: what is below its own name; and, where several plugins serve one hatch by
// kinds, the profiles of its kinds below the name of their group ("queue": {"profiles": {NAME: {"kind": …}}}).
void configure_one(LoadedPlugin& plugin, const config::Config& config) {
  if (const auto own = config.plugins.find(plugin.name); own != config.plugins.end()) {
    const std::string where = "/plugins/" + plugin.name;
    plugin.configuration = own->second.own;
    plugin.why_broken =
        check_part(object_of(plugin.manifest, "configuration"), plugin.configuration, where, plugin.faults);
    take_profiles(plugin, own->second.profiles, where, nullptr);
  }
  for (const auto& [group, kinds] : kinds_of(plugin))
    if (const auto shared = config.plugins.find(group); group != plugin.name && shared != config.plugins.end())
      take_profiles(plugin, shared->second.profiles, "/plugins/" + group, &kinds);
}

// Whether every group whose hatches it serves is switched off: {"queue": {"enabled": false}} ends all of its kinds.
bool switched_off(const LoadedPlugin& plugin, const config::Config& config) {
  const auto kinds = kinds_of(plugin);
  return !kinds.empty() && std::all_of(kinds.begin(), kinds.end(), [&](const auto& entry) {
    const auto group = config.plugins.find(entry.first);
    return group != config.plugins.end() && !group->second.enabled;
  });
}

// A part of the configuration that several plugins share: a profile whose kind nobody serves must not vanish in
// silence. Its problem stands in the catalogue below the group's name.
void complain_of_kinds(Plugins& plugins, const config::Config& config) {
  std::map<std::string, std::vector<std::string>> served;
  for (const auto& [name, plugin] : plugins)
    for (const auto& [group, kinds] : kinds_of(plugin))
      served[group].insert(served[group].end(), kinds.begin(), kinds.end());
  for (const auto& [group, kinds] : served) {
    const auto shared = config.plugins.find(group);
    if (shared == config.plugins.end() || plugins.count(group)) continue;
    std::string names;
    std::vector<FieldError> faults;
    for (const std::string& kind : kinds) names += (names.empty() ? "" : ", ") + kind;
    for (const auto& entry : shared->second.own)
      faults.push_back({"/plugins/" + group + "/" + std::string(entry.key()), "unknown; it takes profiles alone"});
    for (const auto& entry : shared->second.profiles) {
      const json::object* profile = entry.value().if_object();
      const std::string kind = profile ? text_of(*profile, "kind") : "";
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
        faults.push_back(
            {"/plugins/" + group + "/profiles/" + std::string(entry.key()) + "/kind",
             (kind.empty() ? "is required" : "no plugin serves \"" + kind + "\"") + "; there are: " + names});
    }
    if (faults.empty()) continue;
    LoadedPlugin& stand_in = plugins[group];
    stand_in.name = group;
    stand_in.why_broken = faults.front().pointer + ": " + faults.front().detail;
    stand_in.faults = std::move(faults);
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
  if (switched_off(plugin, config)) {
    const std::string group = id.substr(0, id.find('.'));
    return {"plugins." + group + " is switched off",
            "\"plugins\": {\"" + group + "\": {\"enabled\": true}} in the configuration"};
  }
  if (plugin.manifest.contains("profile") && plugin.profiles.empty()) {
    const std::string kind = text_of(hatch, "kind");
    const std::string group = kind.empty() ? plugin.name : id.substr(0, id.find('.'));
    return {kind.empty() ? "its plugin has no profile" : "there is no profile of kind " + kind,
            "\"plugins\": {\"" + group + "\": {\"profiles\": {\"default\": {" +
                (kind.empty() ? "" : "\"kind\": \"" + kind + "\", ") + "…}}}} in the configuration"};
  }
  return {};
}

}  // namespace

std::vector<std::string> shared_parts(const Plugins& plugins) {
  std::vector<std::string> names;
  for (const auto& [name, plugin] : plugins)
    for (const auto& [group, kinds] : kinds_of(plugin))
      if (std::find(names.begin(), names.end(), group) == names.end()) names.push_back(group);
  return names;
}

void configure(Plugins& plugins, const config::Config& config) {
  for (auto& [name, plugin] : plugins)
    if (plugin.why_broken.empty()) configure_one(plugin, config);
  complain_of_kinds(plugins, config);
  for (const auto& [name, plugin] : plugins)
    if (!plugin.why_broken.empty())
      log::warning("a plugin cannot be used", {{"plugin", name}, {"file", plugin.file}, {"why", plugin.why_broken}});
}

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

  read_manifests(found, worker, identity);

  Plugins plugins;
  for (LoadedPlugin& plugin : found) {
    const std::string& key = plugin.name;
    std::vector<std::string> declared;
    if (const json::array* hatches = array_of(plugin.manifest, "hatches"))
      for (const json::value& hatch : *hatches)
        if (const json::object* entry = hatch.if_object())
          for (std::string& capability : texts_of(*entry, "capabilities")) declared.push_back(std::move(capability));
    for (const std::string& capability : grant_of(plugin, config))
      if (rights::is_capability(capability) &&
          std::find(declared.begin(), declared.end(), capability) != declared.end())
        plugin.capabilities.push_back(capability);

    if (plugins.count(key)) {
      log::warning("two plugins of one name, the second is left out", {{"plugin", key}, {"file", plugin.file}});
      continue;
    }
    plugins.emplace(std::string(key), std::move(plugin));
  }
  configure(plugins, config);
  return plugins;
}

Plugins reconfigured(const Plugins& plugins, const config::Config& config, std::vector<std::string>& failures) {
  Plugins changed = plugins;
  for (auto& [name, plugin] : changed) {
    if (plugin.manifest.empty()) continue;  // it could not be opened, and that has nothing to do with its configuration
    plugin.configuration = plugin.profiles = {};
    plugin.why_broken.clear();
    plugin.faults.clear();
    configure_one(plugin, config);
  }
  // What only stood for a fault in a part that several share.
  std::erase_if(changed, [](const auto& entry) { return entry.second.file.empty() && entry.second.manifest.empty(); });
  complain_of_kinds(changed, config);
  for (const auto& [name, plugin] : changed)
    if (!plugin.why_broken.empty() && (plugin.file.empty() || !plugin.manifest.empty()))
      failures.push_back(plugin.why_broken);
  return changed;
}

std::vector<FieldError> taken_ids(const Plugins& plugins, const config::Config& config) {
  std::vector<FieldError> taken;
  for (const auto& [name, plugin] : plugins) {
    const json::array* hatches = name == recipe_plugin ? nullptr : array_of(plugin.manifest, "hatches");
    if (hatches == nullptr) continue;
    for (const json::value& value : *hatches) {
      const json::object* hatch = value.if_object();
      if (hatch == nullptr) continue;
      const std::string id = text_of(*hatch, "id");
      const std::vector<std::string> needs = texts_of(*hatch, "requirements");
      const bool family = std::count(needs.begin(), needs.end(), "members/1") > 0;
      for (const auto& [own, entry] : config.hatches) {
        if (!entry.recipe) continue;
        const std::string at = schema::child("/hatches", std::string_view(own));
        const std::string group = id.substr(0, id.find('.') + 1);
        if (family && own.starts_with(group))
          taken.push_back({at, "a recipe's id cannot begin with \"" + group + "\", which the plugin " + name +
                                   " has for what it finds in the target; give it another id"});
        else if (own == id)
          taken.push_back({at, "is the id of a hatch of the plugin " + name + "; give the recipe another id"});
      }
    }
  }
  return taken;
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
    if (name == recipe_plugin) {
      hatches = recipe_hatches(plugin.manifest, config);
      if (hatches.empty()) continue;
    }
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
        if (limits.queue) hatch["queue"] = *limits.queue;
        if (!limits.role.empty()) hatch["role"] = limits.role;
        if (!limits.effect.empty()) hatch["effect"] = upper_of(text_of(hatch, "effect"), limits.effect);
      }
      json::array profiles;
      const std::string kind = text_of(hatch, "kind");
      for (const auto& profile : plugin.profiles)
        if (const json::object* object = profile.value().if_object();
            object && (kind.empty() || text_of(*object, "kind", kind) == kind))
          profiles.emplace_back(profile.key());
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
  // What somebody wrote must not vanish in silence.
  const bool recipes =
      std::any_of(config.hatches.begin(), config.hatches.end(), [](const auto& hatch) { return hatch.second.recipe; });
  if (recipes && plugins.count(std::string(recipe_plugin)) == 0)
    all.push_back(
        json::object{{"plugin", recipe_plugin},
                     {"problem", to_json(Problem{"plugin-broken",
                                                 "the configuration has recipes, but the plugin \"recipe\" is disabled "
                                                 "or not installed"})}});
  return all;
}

namespace {

void add_members(json::object& enabled, const std::string& family, std::int64_t timeout_ms,
                 const config::Config& config) {
  const std::string group = family.substr(0, family.find('.') + 1);
  for (const auto& [id, hatch] : config.hatches)
    if (id.starts_with(group) && !hatch.recipe && !enabled.contains(id) && hatch.enabled.value_or(true))
      enabled[id] = {{"timeout_ms", hatch.timeout ? hatch.timeout->count() : timeout_ms},
                     {"max_pause_us", 0},
                     {"named", hatch.enabled.value_or(false)}};
}

}  // namespace

json::object enabled_hatches(const json::array& catalogue, const std::string& plugin, const config::Config& config) {
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
    for (const json::value& each : *hatches) {
      const json::object& hatch = each.as_object();
      const std::vector<std::string> needs = texts_of(hatch, "requirements");
      if (flag_of(hatch, "enabled") && std::count(needs.begin(), needs.end(), "members/1") > 0)
        add_members(enabled, text_of(hatch, "id"), number_of(hatch, "timeout_ms", 30000), config);
    }
  }
  return enabled;
}

}  // namespace hatchd::supervisor
