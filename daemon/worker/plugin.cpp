#include "worker/plugin.hpp"

#include <dirent.h>
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstddef>
#include <set>
#include <utility>

#include "base/json.hpp"
#include "base/rights.hpp"
#include "hatch/json.hpp"
#include "schema/schema.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

constexpr unsigned prepare_patience_s = 5;
constexpr std::size_t max_hatches = 256, max_list = 64;
constexpr std::size_t max_word = 128, max_line = 1024, max_text = 64 * 1024, max_schema = 256 * 1024;

// Up to which member a struct of v1.0 reaches; a shorter one was made by no version of the contract.
constexpr std::uint32_t plugin_v1_size = offsetof(hatch_plugin, hatches) + sizeof(hatch_plugin::hatches);
constexpr std::uint32_t hatch_v1_size = offsetof(hatch_hatch, preflight) + sizeof(hatch_hatch::preflight);

constexpr struct {
  std::uint32_t bit;
  const char* name;
} flag_names[] = {{HATCH_INTERACTIVE, "interactive"},
                  {HATCH_ENVIRONMENT, "environment"},
                  {HATCH_TARGET_LOG, "target-log"},
                  {HATCH_TARGET_NETFILES, "target-netfiles"}};
// A request carries these beside the parameters of its hatch.
constexpr std::string_view reserved_parameters[] = {"target", "format", "dry_run", "reason", "wait"};
constexpr const char* effect_names[] = {"observe", "act", "disrupt"};
constexpr const char* target_names[] = {"none", "optional", "required"};

bool is_word(std::string_view text) {
  if (text.empty() || text.front() == '-' || text.back() == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}
// "group.verb"
bool is_hatch_id(std::string_view text) {
  const std::size_t dot = text.find('.');
  return dot != text.npos && is_word(text.substr(0, dot)) && is_word(text.substr(dot + 1));
}

std::size_t thread_count() {
  DIR* directory = ::opendir("/proc/self/task");
  if (!directory) return 0;
  std::size_t count = 0;
  while (const dirent* entry = ::readdir(directory))
    if (entry->d_name[0] != '.') ++count;
  ::closedir(directory);
  return count;
}

// One that was joined may be listed for a moment yet.
bool more_threads_than(std::size_t before) {
  for (int i = 0; i < 20 && thread_count() > before; ++i) ::usleep(5000);
  return thread_count() > before;
}

tl::unexpected<Problem> broken(std::string detail, std::string remedy) {
  return refuse("plugin-broken", hatch::printable(detail), std::move(remedy));
}

}  // namespace

// Turns the plugin's pointers into values and keeps a list of what is wrong with them.
class Reader {
 public:
  Result<Plugin> read(const hatch_plugin* described) {
    // These three come first in the struct, in every version there will ever be.
    if (described->magic != HATCH_ABI_MAGIC)
      return broken("hatch_plugin_entry() returned something without the magic number of a hatchd plugin",
                    "set magic to HATCH_ABI_MAGIC, or use HATCH_PLUGIN() of hatch/hatch.hpp");
    if (described->size < offsetof(hatch_plugin, name))
      return broken(
          "its hatch_plugin says it has " + std::to_string(described->size) + " bytes, too few to hold a version",
          "set size to sizeof(hatch_plugin)");
    if (described->abi_major != HATCH_ABI_MAJOR)
      return broken("it was built for version " + std::to_string(described->abi_major) + '.' +
                        std::to_string(described->abi_minor) + " of the plugin contract, this hatchd speaks version " +
                        std::to_string(HATCH_ABI_MAJOR) + '.' + std::to_string(HATCH_ABI_MINOR),
                    "build it with the headers of this hatchd, or install the hatchd that it was built for");
    if (described->size < plugin_v1_size)
      return broken("its hatch_plugin has " + std::to_string(described->size) + " bytes, version 1.0 has " +
                        std::to_string(plugin_v1_size),
                    "set size to sizeof(hatch_plugin)");

    hatch_plugin head{};
    std::memcpy(&head, described, std::min<std::size_t>(described->size, sizeof head));
    plugin_.name_ = text("/name", head.name, max_word, true);
    if (!plugin_.name_.empty() && !is_word(plugin_.name_))
      wrong("/name", "\"" + plugin_.name_ + "\" is not a name: lower case letters, digits and '-'");
    plugin_.version_ = text("/version", head.version, max_word, true);
    plugin_.summary_ = text("/summary", head.summary, max_line, true);
    plugin_.has_configuration_ = head.configuration != nullptr;
    plugin_.configuration_ = schema("/configuration", head.configuration);
    plugin_.has_profile_ = head.profile != nullptr;
    plugin_.profile_ = schema("/profile", head.profile);
    read_hatches(head.hatches);
    plugin_.prepare_ = head.prepare;

    if (!errors_.empty()) {
      Problem problem{"plugin-broken", errors_.front().pointer + ": " + errors_.front().detail};
      if (errors_.size() > 1) problem.detail += " (and " + std::to_string(errors_.size() - 1) + " more)";
      problem.remedy =
          "correct the description that the plugin gives of itself; `hatchd check --plugin FILE.so` lists every fault";
      problem.errors = std::move(errors_);
      return tl::unexpected<Problem>(std::move(problem));
    }
    return std::move(plugin_);
  }

 private:
  void wrong(std::string pointer, const std::string& detail) {
    if (errors_.size() < 100) errors_.push_back({std::move(pointer), hatch::printable(detail)});
  }

  std::string text(const std::string& pointer, const char* from, std::size_t max, bool required = false) {
    if (!from) {
      if (required) wrong(pointer, "is NULL");
      return {};
    }
    const std::size_t size = ::strnlen(from, max + 1);
    if (size > max) {
      wrong(pointer, "is longer than " + std::to_string(max) + " bytes");
      return {};
    }
    std::string_view got{from, size};
    if (required && got.empty()) wrong(pointer, "is empty");
    for (std::size_t at = 0; at < got.size();)
      if (hatch::next_code_point(got, at) == 0xFFFD) {
        wrong(pointer, "is not UTF-8");
        return {};
      }
    return std::string(got);
  }

  std::vector<std::string> list(const std::string& pointer, const char* const* from) {
    std::vector<std::string> all;
    if (!from) return all;
    for (std::size_t i = 0; from[i]; ++i) {
      if (i == max_list) {
        wrong(pointer, "has more than " + std::to_string(max_list) + " entries, or no NULL at its end");
        break;
      }
      all.push_back(text(pointer + '/' + std::to_string(i), from[i], max_word, true));
    }
    return all;
  }

  json::object schema(const std::string& pointer, const char* from) {
    const std::string source = text(pointer, from, max_schema);
    if (source.empty()) return {{"type", "object"}, {"properties", json::object{}}, {"additionalProperties", false}};
    auto value = parse_json(source);
    if (!value) {
      wrong(pointer, "is not JSON: " + value.error().detail);
      return {};
    }
    if (!value->is_object()) {
      wrong(pointer, "is not a JSON object");
      return {};
    }
    json::object object = std::move(value->get_object());
    if (text_of(object, "type") != "object") wrong(pointer, "describes no object: \"type\" must be \"object\"");
    for (const FieldError& error : schema::check(object)) wrong(pointer + error.pointer, error.detail);
    return object;
  }

  void read_hatches(const hatch_hatch* const* from) {
    if (!from || !from[0]) return wrong("/hatches", "there is none");
    std::set<std::string> keys;
    for (std::size_t i = 0; from[i]; ++i) {
      const std::string pointer = "/hatches/" + std::to_string(i);
      if (i == max_hatches)
        return wrong("/hatches", "more than " + std::to_string(max_hatches) + ", or no NULL at the end");
      const std::uint32_t size = from[i]->size;
      if (size < hatch_v1_size) {
        wrong(pointer, "its hatch_hatch has " + std::to_string(size) + " bytes, version 1.0 has " +
                           std::to_string(hatch_v1_size) + "; set size to sizeof(hatch_hatch)");
        continue;
      }
      Hatch hatch;
      std::memcpy(&hatch.description, from[i], std::min<std::size_t>(size, sizeof hatch.description));
      read_hatch(pointer, hatch);
      if (!hatch.id.empty() && !keys.insert(hatch.key()).second)
        wrong(pointer + "/id", "\"" + hatch.key() + "\" is there twice: id and kind together must be unique");
      plugin_.hatches_.push_back(std::move(hatch));
    }
  }

  void read_hatch(const std::string& pointer, Hatch& hatch) {
    const hatch_hatch& d = hatch.description;
    hatch.id = text(pointer + "/id", d.id, max_word, true);
    if (!hatch.id.empty() && !is_hatch_id(hatch.id))
      wrong(pointer + "/id",
            "\"" + hatch.id + "\" is not \"group.verb\": lower case letters, digits and '-' around one dot");
    hatch.kind = text(pointer + "/kind", d.kind, max_word);
    if (d.kind && !is_word(hatch.kind))
      wrong(pointer + "/kind", "\"" + hatch.kind + "\" is not a name: lower case letters, digits and '-'");
    text(pointer + "/title", d.title, max_line, true);
    text(pointer + "/documentation", d.documentation, max_text, true);
    if (d.effect > HATCH_DISRUPT)
      wrong(pointer + "/effect", std::to_string(d.effect) + " is no effect that this hatchd knows");
    if (d.target > HATCH_TARGET_REQUIRED)
      wrong(pointer + "/target", std::to_string(d.target) + " is no use of a target that this hatchd knows");
    std::uint32_t known = 0;
    for (const auto& flag : flag_names) known |= flag.bit;
    if (d.flags & ~known)
      wrong(pointer + "/flags", std::to_string(d.flags & ~known) + " is no flag that this hatchd knows");
    if (!d.run) wrong(pointer + "/run", "is NULL");
    hatch.parameters = schema(pointer + "/parameters", d.parameters);
    if (const json::object* properties = object_of(hatch.parameters, "properties"))
      for (const std::string_view name : reserved_parameters)
        if (properties->contains(name))
          wrong(pointer + "/parameters/properties/" + std::string(name), "the name is reserved for the request itself");
    hatch.capabilities = list(pointer + "/capabilities", d.capabilities);
    for (std::size_t i = 0; i < hatch.capabilities.size(); ++i)
      if (const std::string& name = hatch.capabilities[i]; !name.empty() && !rights::is_capability(name))
        wrong(pointer + "/capabilities/" + std::to_string(i),
              "\"" + name + "\" is no capability of this system (capabilities(7) in lower case without \"cap_\")");
    const auto renderings = list(pointer + "/renderings", d.renderings);
    for (std::size_t i = 0; i < renderings.size(); ++i)
      if (!is_word(renderings[i]) || renderings[i] == "json" || renderings[i] == "text")
        wrong(
            pointer + "/renderings/" + std::to_string(i),
            "\"" + renderings[i] + "\": a name of lower case letters, digits and '-' other than \"json\" and \"text\"");
    const auto types = list(pointer + "/artifact_types", d.artifact_types);
    for (std::size_t i = 0; i < types.size(); ++i)
      if (types[i].find('/') == std::string::npos)
        wrong(pointer + "/artifact_types/" + std::to_string(i), "\"" + types[i] + "\" is not a media type");
    list(pointer + "/requirements", d.requirements);
  }

  Plugin plugin_;
  std::vector<FieldError> errors_;
};

namespace {

json::array texts(const char* const* from) {
  json::array all;
  for (; from && *from; ++from) all.emplace_back(*from);
  return all;
}

}  // namespace

bool Hatch::needs(std::string_view extension) const {
  for (const char* const* need = description.requirements; need && *need; ++need)
    if (*need == extension) return true;
  return false;
}

Result<Plugin> Plugin::open(int fd) { return open("/proc/self/fd/" + std::to_string(fd)); }

Result<Plugin> Plugin::open(const std::string& path) {
  const std::size_t threads = thread_count();
  // RTLD_NOW: a symbol that is missing shows now and not in the middle of a run.
  void* object = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!object) {
    const char* why = ::dlerror();
    return broken("the dynamic linker refuses it: " + std::string(why ? why : "no reason given"),
                  "check with `ldd` that its libraries are installed and that it is a shared object for this machine");
  }
  // POSIX lets dlsym() name a function through an object pointer.
  const auto entry = reinterpret_cast<hatch_plugin_entry_fn>(::dlsym(object, "hatch_plugin_entry"));
  if (!entry)
    return broken("it does not export hatch_plugin_entry()",
                  "define it with HATCH_PLUGIN() of hatch/hatch.hpp, or export it with HATCH_EXPORT and extern \"C\"");
  // noexcept: an exception that leaves C code is the plugin's crash, not something to go on from.
  const hatch_plugin* described = [&]() noexcept { return entry(); }();
  if (more_threads_than(threads))
    return broken(
        "it started a thread while it was loaded; a run is a fork of the process that loaded it, and fork() loses "
        "threads",
        "start threads inside run(), not in constructors, static initialisers or hatch_plugin_entry()");
  if (!described)
    return broken("hatch_plugin_entry() returned NULL: the plugin cannot describe itself",
                  "look for an exception or a missing resource in its hatch_plugin_entry()");
  return Reader{}.read(described);
}

bool Plugin::prepare() {
  const auto call = std::exchange(prepare_, nullptr);
  if (!call) return true;
  const std::size_t threads = thread_count();
  ::alarm(prepare_patience_s);  // SIGALRM (14) ends a process that would serve nothing more, which the log says
  [&]() noexcept { call(); }();
  ::alarm(0);
  return !more_threads_than(threads);
}

const Hatch* Plugin::find(std::string_view key) const {
  const auto at =
      std::find_if(hatches_.begin(), hatches_.end(), [&](const Hatch& hatch) { return hatch.key() == key; });
  return at == hatches_.end() ? nullptr : &*at;
}

std::vector<std::string> Plugin::capabilities() const {
  std::set<std::string> all;
  for (const Hatch& hatch : hatches_) all.insert(hatch.capabilities.begin(), hatch.capabilities.end());
  return {all.begin(), all.end()};
}

json::object Plugin::manifest() const {
  json::object manifest{{"plugin", name_}, {"version", version_}, {"summary", summary_}};
  if (has_configuration_) manifest["configuration"] = configuration_;
  if (has_profile_) manifest["profile"] = profile_;
  json::array& hatches = manifest["hatches"].emplace_array();
  for (const Hatch& hatch : hatches_) {
    const hatch_hatch& d = hatch.description;
    json::object entry{{"id", hatch.id}};
    if (!hatch.kind.empty()) entry["kind"] = hatch.kind;
    entry["title"] = d.title;
    entry["documentation"] = d.documentation;
    entry["effect"] = effect_names[d.effect];
    entry["target"] = target_names[d.target];
    json::array& flags = entry["flags"].emplace_array();
    for (const auto& flag : flag_names)
      if (hatch.has_flag(flag.bit)) flags.emplace_back(flag.name);
    entry["timeout_ms"] = d.timeout_ms ? d.timeout_ms : 30'000;
    entry["max_pause_us"] = d.max_pause_us;
    entry["cooldown_ms"] = d.cooldown_ms;
    entry["parameters"] = hatch.parameters;
    entry["preflight"] = d.preflight != nullptr;
    entry["capabilities"] = json::value_from(hatch.capabilities);
    entry["renderings"] = texts(d.renderings);
    entry["artifact_types"] = texts(d.artifact_types);
    entry["requirements"] = texts(d.requirements);
    hatches.push_back(std::move(entry));
  }
  return manifest;
}

}  // namespace hatchd::worker
