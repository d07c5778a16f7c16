#include "config/structs.hpp"

#include <string>

#include <boost/json/value.hpp>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "config/units.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

template <class T>
T duration_of(const json::object& object, std::string_view name) {
  return std::chrono::duration_cast<T>(parse_duration(text_of(object, name)));
}
template <class T>
std::optional<T> optional_duration(const json::object& object, std::string_view name) {
  if (!object.contains(name)) return std::nullopt;
  return duration_of<T>(object, name);
}

// An absent section is an empty one.
const json::object& section(const json::object& object, std::string_view name) {
  static const json::object empty;
  const json::object* found = object_of(object, name);
  return found == nullptr ? empty : *found;
}

// Each object of a list through one function.
template <class T>
std::vector<T> list_of(const json::object& object, std::string_view name, T (*make)(const json::object&)) {
  std::vector<T> made;
  if (const json::array* list = array_of(object, name))
    for (const json::value& entry : *list)
      if (entry.is_object()) made.push_back(make(entry.get_object()));
  return made;
}

Listen listen(const json::object& from, bool has_tls) {
  Listen to;
  to.unix_path = text_of(from, "unix");
  if (from.contains("mode")) to.mode = static_cast<unsigned>(std::stoul(text_of(from, "mode"), nullptr, 8));
  to.group = text_of(from, "group");
  to.address = text_of(from, "tcp");
  to.only = texts_of(from, "only");
  const auto address = parse_address(to.address);
  to.tls = flag_of(from, "tls", has_tls && address && !address->loopback && to.only.empty());
  to.anonymous = text_of(from, "anonymous");
  return to;
}

Peer peer(const json::object& from) { return {text_of(from, "user"), text_of(from, "group"), text_of(from, "role")}; }

Token token(const json::object& from) {
  return {text_of(from, "name"),     text_of(from, "sha256"),   text_of(from, "role"),
          texts_of(from, "hatches"), texts_of(from, "targets"), text_of(from, "expires")};
}

Plugin plugin(const json::object& from) {
  Plugin to;
  to.enabled = flag_of(from, "enabled", true);
  to.path = text_of(from, "path");
  to.capabilities = texts_of(from, "capabilities");
  to.profiles = section(from, "profiles");
  to.own = from;
  for (const char* ours : {"enabled", "path", "capabilities", "profiles"}) to.own.erase(ours);
  return to;
}

Hatch hatch(const json::object& from) {
  Hatch to;
  if (from.contains("enabled")) to.enabled = flag_of(from, "enabled");
  to.timeout = optional_duration<std::chrono::milliseconds>(from, "timeout");
  to.cooldown = optional_duration<std::chrono::milliseconds>(from, "cooldown");
  if (from.contains("concurrency")) to.concurrency = static_cast<unsigned>(number_of(from, "concurrency"));
  if (from.contains("queue")) to.queue = static_cast<unsigned>(number_of(from, "queue"));
  to.max_pause = optional_duration<std::chrono::microseconds>(from, "max_pause");
  to.recipe = from.contains("kind");
  if (to.recipe) to.written = from;
  if (json::value* limits = to.written.if_contains("limits"); limits && limits->is_object()) {
    json::object& most = limits->get_object();  // as numbers: bytes and seconds
    for (const char* size : {"memory", "file_size"})
      if (most.contains(size)) most[size] = parse_size(text_of(most, size)).value_or(0);
    if (most.contains("cpu"))
      most["cpu"] = std::chrono::ceil<std::chrono::seconds>(parse_duration(text_of(most, "cpu"))).count();
  }
  to.role = text_of(from, "role");
  to.effect = text_of(from, "effect");
  return to;
}

Runs runs(const json::object& from) {
  Runs to;
  to.directory = text_of(from, "directory", to.directory);
  const json::object& keep = section(from, "keep");
  to.keep_count = static_cast<std::uint64_t>(number_of(keep, "count", static_cast<std::int64_t>(to.keep_count)));
  to.keep_bytes = parse_size(text_of(keep, "bytes")).value_or(to.keep_bytes);
  if (keep.contains("age")) to.keep_age = duration_of<std::chrono::seconds>(keep, "age");
  to.min_free = text_of(from, "min_free", to.min_free);
  to.concurrency = static_cast<unsigned>(number_of(from, "concurrency", to.concurrency));
  return to;
}

Audit audit(const json::object& from) {
  Audit to;
  to.file = text_of(from, "file");
  to.max_bytes = parse_size(text_of(from, "max_bytes")).value_or(to.max_bytes);
  to.keep = static_cast<unsigned>(number_of(from, "keep", to.keep));
  to.journal = flag_of(from, "journal", to.journal);
  return to;
}

}  // namespace

Config to_structs(const json::object& effective) {
  Config config;
  const json::object& tls = section(effective, "tls");
  config.tls = {text_of(tls, "certificate"), text_of(tls, "key")};
  if (const json::array* entries = array_of(effective, "listen"))
    for (const json::value& entry : *entries)
      if (entry.is_object()) config.listen.push_back(listen(entry.get_object(), !config.tls.certificate.empty()));
  config.targets = section(effective, "targets");
  const json::object& access = section(effective, "access");
  config.access.peers = list_of<Peer>(access, "peers", peer);
  config.access.tokens = list_of<Token>(access, "tokens", token);
  config.access.anonymous = text_of(access, "anonymous");
  config.access.read_only = flag_of(access, "read_only");
  config.access.require_reason = texts_of(access, "require_reason");
  config.hosts = texts_of(effective, "hosts");
  config.mask = section(effective, "mask");
  for (const auto& member : section(effective, "plugins"))
    config.plugins[member.key()] = plugin(member.value().as_object());
  for (const auto& member : section(effective, "hatches"))
    config.hatches[member.key()] = hatch(member.value().as_object());
  config.runs = runs(section(effective, "runs"));
  config.audit = audit(section(effective, "audit"));
  const json::object& users = section(effective, "users");
  config.users = {text_of(users, "front", config.users.front), text_of(users, "targets", config.users.targets),
                  text_of(users, "plugins", config.users.plugins)};
  config.plugin_directories = texts_of(effective, "plugin_directories");
  config.grace = duration_of<std::chrono::milliseconds>(effective, "grace");
  return config;
}

}  // namespace hatchd::config
