#include "supervisor/check.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <fstream>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "config/peers.hpp"
#include "config/tls.hpp"
#include "http/tls.hpp"
#include "schema/words.hpp"
#include "supervisor/plugins.hpp"
#include "supervisor/recipes.hpp"
#include "supervisor/spawn.hpp"
#include "supervisor/users.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
using schema::child;

namespace {

void add(std::vector<FieldError>& errors, std::vector<FieldError> more) {
  errors.insert(errors.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& words) {
  const std::vector<std::string_view> views(words.begin(), words.end());
  const std::string near = schema::nearest(word, views);
  return near.empty() ? "" : "; did you mean \"" + near + "\"?";
}

// The ids of hatches that are written out: as a setting, or in the scope of a token.
void check_hatches(const config::Config& config, const std::vector<std::string>& known,
                   std::vector<FieldError>& errors) {
  const auto check = [&](const std::string& id, const std::string& at) {
    // Hatches inside the app are known when the app runs; a pattern may be there for those to come.
    if (id.starts_with("app.") || id.find('*') != id.npos || std::count(known.begin(), known.end(), id) != 0) return;
    errors.push_back({at, "no enabled plugin has the hatch \"" + id + "\"" + did_you_mean(id, known)});
  };
  for (const auto& [id, hatch] : config.hatches)
    if (!hatch.recipe) check(id, child("/hatches", std::string_view(id)));
  for (std::size_t i = 0; i < config.access.tokens.size(); ++i)
    for (std::size_t j = 0; j < config.access.tokens[i].hatches.size(); ++j)
      check(config.access.tokens[i].hatches[j],
            "/access/tokens/" + std::to_string(i) + "/hatches/" + std::to_string(j));
}

void check_plugins(const config::Config& config, const Identity& identity, std::vector<FieldError>& errors) {
  const auto worker = worker_program();
  if (!worker) {
    errors.push_back({"/plugins", worker.error().detail});
    return;
  }
  const Plugins plugins = load_plugins(config, plugin_directories(config), *worker, identity);
  std::vector<std::string> known;
  bool all = true;  // of some plugin it is not known which hatches it has
  for (const auto& [name, hatch] : config.hatches)
    if (hatch.recipe) known.push_back(name);
  for (const auto& [name, plugin] : plugins) {
    const std::string at = child("/plugins", std::string_view(name));
    add(errors, plugin.faults);
    if (!plugin.why_broken.empty() && plugin.faults.empty())
      errors.push_back({!plugin.packaged && plugin.manifest.empty() ? at + "/path" : at, plugin.why_broken});
    const json::array* hatches = array_of(plugin.manifest, "hatches");
    all = all && hatches != nullptr;
    if (hatches == nullptr) continue;
    for (const json::value& hatch : *hatches)
      if (hatch.is_object()) known.push_back(text_of(hatch.get_object(), "id"));
  }
  const std::vector<std::string> shared = shared_parts(plugins);
  for (const auto& [name, plugin] : config.plugins)
    if (plugin.enabled && plugin.path.empty() && !plugins.contains(name) &&
        std::find(shared.begin(), shared.end(), name) == shared.end()) {
      std::vector<std::string> names;
      for (const auto& entry : plugins) names.push_back(entry.first);
      errors.push_back({child("/plugins", std::string_view(name)),
                        "no packaged plugin has this name, and it has no \"path\"" + did_you_mean(name, names)});
    }
  if (all) check_hatches(config, known, errors);
  add(errors, taken_ids(plugins, config));
}

bool is_absent(int error) { return error == ENOENT || error == ENOTDIR; }

// Why nobody can start it; "" also where only others than us can tell.
std::string no_program(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return is_absent(errno) ? "there is no program " + path + "; install it, or write where it is" : std::string();
  if (!S_ISREG(info.st_mode)) return path + " is no program, but a folder or a device";
  return (info.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0 ? path + " is not executable: chmod +x " + path
                                                             : std::string();
}

void check_tls(const config::Config& config, std::vector<FieldError>& errors) {
  if (config.tls.certificate.empty()) return;
  config::TlsFiles files;
  std::vector<FieldError> unreadable = config::read_tls(config.tls, files);
  if (!unreadable.empty()) return add(errors, std::move(unreadable));
  const auto context = http::TlsContext::make(files.certificate, files.key);
  if (!context)
    errors.push_back({"/tls/" + context.error().candidates.front(), context.error().detail});
  else if ((*context)->expired())
    errors.push_back({"/tls/certificate", "has expired: it was valid until " + (*context)->valid_until()});
}

void check_targets(const config::Config& config, std::vector<FieldError>& errors) {
  if (config.targets.contains("*")) return;  // which there will be is not known
  std::vector<std::string> names;
  for (const auto& target : config.targets) names.emplace_back(target.key());
  for (std::size_t i = 0; i < config.access.tokens.size(); ++i)
    for (std::size_t j = 0; j < config.access.tokens[i].targets.size(); ++j) {
      const std::string& name = config.access.tokens[i].targets[j];
      if (name.find('*') == name.npos && !config.targets.contains(name))
        errors.push_back({"/access/tokens/" + std::to_string(i) + "/targets/" + std::to_string(j),
                          "there is no target \"" + name + "\"" + did_you_mean(name, names)});
    }
}

}  // namespace

std::vector<FieldError> check_world(const config::Config& config) {
  std::vector<FieldError> errors;
  const config::PeerIds peers = config::look_up_peers(config.access);
  add(errors, peers.unknown);
  add(errors, peers.unanswered);
  for (std::size_t i = 0; i < config.listen.size(); ++i)
    if (const std::string& group = config.listen[i].group; !group.empty() && ::getgrnam(group.c_str()) == nullptr)
      errors.push_back({"/listen/" + std::to_string(i) + "/group", "there is no group \"" + group + "\""});
  check_tls(config, errors);
  check_targets(config, errors);
  const auto identities = choose_identities(config.users);
  if (!identities) errors.push_back({"/users", identities.error().detail});
  check_plugins(config, identities ? identities->plugins : Identity{}, errors);
  add(errors, check_recipes(config, identities ? identities->plugins : Identity{}));
  return errors;
}

std::vector<FieldError> check_recipes(const config::Config& config, const Identity& plugins) {
  std::vector<FieldError> errors;
  const auto own = config.plugins.find(std::string(recipe_plugin));
  const auto granted = [&](const char* capability) {
    return own != config.plugins.end() && std::count(own->second.capabilities.begin(), own->second.capabilities.end(),
                                                     std::string_view(capability)) != 0;
  };
  for (const auto& [id, hatch] : config.hatches) {
    if (!hatch.recipe || text_of(hatch.written, "kind") != "command" || !hatch.enabled.value_or(true)) continue;
    const std::string at = child("/hatches", std::string_view(id));
    const std::vector<std::string> argv = texts_of(hatch.written, "argv");
    const std::string user = text_of(hatch.written, "user"), directory = text_of(hatch.written, "directory");
    if (const std::string why = argv.empty() ? "" : no_program(argv.front()); !why.empty())
      errors.push_back({at + "/argv/0", why});
    struct stat info {};
    if (!directory.empty() && ::stat(directory.c_str(), &info) != 0 ? is_absent(errno)
                                                                    : !directory.empty() && !S_ISDIR(info.st_mode))
      errors.push_back({at + "/directory", "there is no folder " + directory + "; make it, or name another"});
    if (user.empty()) continue;
    const passwd* entry = ::getpwnam(user.c_str());
    if (entry == nullptr)
      errors.push_back({at + "/user", "there is no user \"" + user + "\"; make it (useradd(8)), or name another"});
    else if (entry->pw_uid != plugins.uid.value_or(::geteuid()) && !(granted("setuid") && granted("setgid")))
      errors.push_back({at + "/user", "takes \"plugins\": {\"recipe\": {\"capabilities\": [\"setuid\", \"setgid\"]}}"});
  }
  return errors;
}

std::string service_user() {
  // systemd.unit(5), "Unit File Load Path": the first that is there counts.
  for (const char* folder : {"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
                             "/usr/lib/systemd/system", "/lib/systemd/system"}) {
    std::ifstream unit(std::string(folder) + "/hatchd.service");
    if (!unit) continue;
    std::string user;
    for (std::string line; std::getline(unit, line);)
      if (line.starts_with("User=")) user = line.substr(5);
    return user == "root" ? std::string() : user;
  }
  return {};
}

Result<void> become(const std::string& user) {
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry == nullptr) return refuse("internal", "there is no user \"" + user + "\"");
  if (entry->pw_uid == ::geteuid()) return {};
  if (::initgroups(entry->pw_name, entry->pw_gid) != 0 ||
      ::setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
      ::setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0)
    return refuse("internal", "cannot become the user \"" + user + "\": " + errno_text(errno), "call it with sudo");
  return {};
}

}  // namespace hatchd::supervisor
