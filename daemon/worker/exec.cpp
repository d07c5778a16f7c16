#include "worker/exec.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>

#include "base/json.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "hatch/json.hpp"
#include "schema/schema.hpp"
#include "supervisor/plugins.hpp"
#include "supervisor/spawn.hpp"
#include "worker/caller.hpp"
#include "worker/describe.hpp"
#include "worker/run.hpp"

namespace hatchd::worker {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

constexpr int failed_status = 1, usage_status = 2, refused_status = 3;
constexpr int start_patience_ms = 10'000;

// What to run and where it is.
struct Chosen {
  std::string file;
  UniqueFd object;
  json::object manifest, hatch;
  json::object params;
  std::string target;  // empty: none
  std::string member;  // of a family (requirement "members/1"): what stands behind "app." in app.NAME

  std::string text(std::string_view name) const { return text_of(hatch, name); }
  std::string key() const { return hatch.contains("kind") ? text("id") + ' ' + text("kind") : text("id"); }
  bool has_flag(std::string_view flag) const {
    const auto flags = texts_of(hatch, "flags");
    return std::find(flags.begin(), flags.end(), flag) != flags.end();
  }
};

int complain(const Problem& problem, int status) {
  std::string text = "hatchd: " + problem.detail + '\n';
  for (const FieldError& error : problem.errors) text += "  " + error.pointer + ": " + error.detail + '\n';
  if (!problem.remedy.empty()) text += "remedy: " + problem.remedy + '\n';
  text = hatch::printable(text, true);
  std::fwrite(text.data(), 1, text.size(), stderr);
  return status;
}

// ---- what to run
// ------------------------------------------------------------------------------------------------------

// The plugins' files, the one that the hatch's group names first.
std::vector<std::string> candidates(const ExecOptions& options) {
  if (!options.plugin.empty()) return {options.plugin};
  const std::string group = options.hatch.substr(0, options.hatch.find('.'));
  std::vector<std::string> files;
  for (const std::string& directory : options.plugin_directories) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error))
      if (entry.path().extension() == ".so" && files.size() < 256) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  std::stable_partition(files.begin(), files.end(),
                        [&](const std::string& file) { return fs::path(file).stem() == group; });
  return files;
}

// The hatches of a manifest that the given name means: "id kind", or an id of one kind or several.
std::vector<json::object> named(const json::object& manifest, const std::string& name) {
  std::vector<json::object> all;
  if (const json::array* hatches = array_of(manifest, "hatches"))
    for (const json::value& value : *hatches)
      if (const json::object* hatch = value.if_object()) {
        const std::string id = text_of(*hatch, "id"), kind = text_of(*hatch, "kind");
        if (name == id || (!kind.empty() && name == id + ' ' + kind)) all.push_back(*hatch);
      }
  return all;
}

// The hatch that stands for the members of the group which `name` is in, such as app.call for app.reindex.
const json::object* family_of(const json::object& manifest, const std::string& name) {
  if (const json::array* hatches = array_of(manifest, "hatches"))
    for (const json::value& value : *hatches)
      if (const json::object* hatch = value.if_object()) {
        const std::string id = text_of(*hatch, "id");
        const auto needs = texts_of(*hatch, "requirements");
        if (name.starts_with(id.substr(0, id.find('.') + 1)) &&
            std::find(needs.begin(), needs.end(), "members/1") != needs.end())
          return hatch;
      }
  return nullptr;
}

Result<Chosen> choose(const ExecOptions& options, const std::string& worker) {
  Problem last{"hatch-unknown", "no plugin brings " + options.hatch};
  for (const std::string& file : candidates(options)) {
    Chosen chosen;
    chosen.file = file;
    if (options.plugin.empty()) {
      auto object = supervisor::open_trusted(file);
      if (!object) {
        last = object.error();
        continue;
      }
      chosen.object = std::move(*object);
    } else {
      // Whoever names a file trusts it as much as a program that he starts.
      chosen.object = UniqueFd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
      if (!chosen.object) return refuse("plugin-broken", file + ": " + errno_text(errno));
    }
    auto manifest = describe(worker, chosen.object.get());
    if (!manifest) {
      last = manifest.error();
      last.detail = file + ": " + last.detail;
      continue;
    }
    chosen.manifest = std::move(*manifest);
    auto hatches = named(chosen.manifest, options.hatch);
    if (hatches.size() > 1)
      return refuse("hatch-unknown", options.hatch + " is there for several kinds",
                    "name one: \"" + options.hatch + " KIND\"");
    if (hatches.size() == 1) {
      chosen.hatch = std::move(hatches.front());
      return chosen;
    }
    if (const json::object* family = family_of(chosen.manifest, options.hatch)) {
      chosen.hatch = *family;
      chosen.member = options.hatch.substr(options.hatch.find('.') + 1);
      return chosen;
    }
  }
  return tl::unexpected<Problem>(std::move(last));
}

Result<std::pair<std::string, std::string>> key_and_value(const std::string& entry) {
  const std::size_t equals = entry.find('=');
  if (equals == std::string::npos || equals == 0) return refuse("params-invalid", "\"" + entry + "\" is not key=value");
  return std::pair{entry.substr(0, equals), entry.substr(equals + 1)};
}

// Parameters of a member, whose types the app alone knows: as texts. Whoever runs it has named it, and has no more rights
// than on a shell.
Result<json::object> member_params(const std::string& member, const std::vector<std::string>& entries) {
  json::object arguments, params;
  for (const std::string& entry : entries) {
    const auto given = key_and_value(entry);
    if (!given) return tl::unexpected<Problem>(given.error());
    (given->first == "workers" ? params : arguments)[given->first] = given->second;
  }
  params["member"] = member;
  params["arguments"] = json::serialize(arguments);
  params["texts"] = true;
  params["named"] = true;
  params["effect"] = "disrupt";
  return params;
}

Result<json::object> hatch_params(const json::object& schema, const std::vector<std::string>& entries) {
  json::object params;
  for (const std::string& entry : entries) {
    const auto given = key_and_value(entry);
    if (!given) return tl::unexpected<Problem>(given.error());
    if (params.contains(given->first)) return refuse("params-invalid", given->first + " is given twice");
    auto value = schema::convert(schema, given->first, given->second);
    if (!value) return tl::unexpected<Problem>(value.error());
    params[given->first] = std::move(*value);
  }
  return params;
}

// Parameters as the hatch wants them; a target where it needs one.
Result<void> fit(Chosen& chosen, const ExecOptions& options) {
  const json::object* schema = object_of(chosen.hatch, "parameters");
  if (!schema) return refuse("internal", "a manifest without parameters");
  auto params = chosen.member.empty() ? hatch_params(*schema, options.parameters)
                                      : member_params(chosen.member, options.parameters);
  if (!params) return tl::unexpected<Problem>(params.error());
  json::value checked = std::move(*params);
  if (auto errors = schema::validate(*schema, checked); !errors.empty()) {
    Problem problem{"params-invalid", "the parameters do not fit " + chosen.text("id")};
    problem.errors = std::move(errors);
    return tl::unexpected<Problem>(std::move(problem));
  }
  chosen.params = std::move(checked.get_object());

  const std::string use = chosen.text("target");
  if (options.pid && use == "none") return refuse("params-invalid", chosen.text("id") + " takes no target");
  if (!options.pid && use == "required")
    return refuse("target-required", chosen.text("id") + " needs a target", "name it: --pid PID");
  if (options.pid) chosen.target = "pid-" + std::to_string(*options.pid);
  if (chosen.has_flag("interactive") && (options.in_process || ::isatty(STDIN_FILENO) != 1))
    return refuse("params-invalid", chosen.text("id") + " is a console: it needs a terminal");
  return {};
}

// ---- the processes
// ----------------------------------------------------------------------------------------------------

// One of the two children; killed and reaped at the end, whatever happened.
struct Child {
  supervisor::Spawned spawned;
  explicit Child(supervisor::Spawned child) : spawned(std::move(child)) {}
  Child(Child&& other) noexcept : spawned(std::move(other.spawned)) { other.spawned.pid = -1; }
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (spawned.pid <= 0) return;
    ::kill(spawned.pid, SIGKILL);
    ::waitpid(spawned.pid, nullptr, 0);
  }
};

json::array own_capabilities(const std::vector<std::string>& wanted) {
  const auto own = rights::capabilities();
  json::array both;
  for (const std::string& name : wanted)
    if (std::find(own.begin(), own.end(), name) != own.end()) both.emplace_back(name);
  return both;
}

Result<Child> start(const std::string& worker, const std::string& title, json::object setup, std::span<const int> fds) {
  auto spawned = supervisor::spawn(worker, title);
  if (!spawned) return tl::unexpected<Problem>(spawned.error());
  Child child{std::move(*spawned)};
  child.spawned.channel.send("setup", std::move(setup), fds);
  link::Message answer;
  if (child.spawned.channel.wait(answer, start_patience_ms) == link::Received::message && answer.type == "ready")
    return child;
  const json::object* problem = object_of(answer.body, "problem");
  return tl::unexpected<Problem>(problem ? problem_from_json(*problem) : Problem{"internal", title + " did not start"});
}

// `hatchd: targets` with the one target, serving `client`.
Result<Child> start_targets(const std::string& worker, const Chosen& chosen, const ExecOptions& options, int client) {
  auto child = start(worker, "hatchd: targets",
                     {{"role", "targets"},
                      {"rights", {{"capabilities", own_capabilities({"sys_ptrace", "dac_read_search"})}}},
                      {"targets", json::object{{chosen.target, json::object{{"pid", *options.pid}}}}}},
                     {});
  if (child)
    child->spawned.channel.send("serve",
                                {{"as", "plugin"},
                                 {"plugin", text_of(chosen.manifest, "plugin")},
                                 {"targets", json::array{json::value(chosen.target)}},
                                 {"environment", chosen.has_flag("environment")},
                                 {"log", chosen.has_flag("target-log")}},
                                {&client, 1});
  return child;
}

// The same command with sudo; parameters that are to be masked or quoted are left to the person.
std::string with_sudo(const ExecOptions& options) {
  if (::geteuid() == 0) return {};
  std::string line = "sudo hatchd exec " + options.hatch;
  if (options.pid) line += " --pid " + std::to_string(*options.pid);
  return line + (options.parameters.empty() ? "" : " …");
}

Caller::Shown shown(const Chosen& chosen, const ExecOptions& options, const std::string& run) {
  const json::value masked = mask::value(schema::mask(*object_of(chosen.hatch, "parameters"), chosen.params));
  return {run, chosen.text("id"), masked.get_object(), options.json, with_sudo(options)};
}

int run_in_plugin_process(const Chosen& chosen, const ExecOptions& options, const std::string& worker) {
  auto [front, front_theirs] = link::Channel::pair();
  auto [targets, targets_theirs] = link::Channel::pair();
  std::optional<Child> looking;
  if (!chosen.target.empty()) {
    auto started = start_targets(worker, chosen, options, targets.get());
    if (!started) return complain(started.error(), failed_status);
    looking.emplace(std::move(*started));
  }
  const int fds[] = {chosen.object.get(), front_theirs.get(), targets_theirs.get()};
  json::object hatches;
  hatches[chosen.key()] = {{"timeout_ms", chosen.hatch.at("timeout_ms")},
                           {"max_pause_us", chosen.hatch.at("max_pause_us")}};
  json::array allowed;
  if (!chosen.target.empty()) allowed.emplace_back(chosen.target);
  const std::string name = text_of(chosen.manifest, "plugin");
  auto plugin = start(worker, "hatchd: plugin " + name,
                      {{"role", "plugin"},
                       {"rights", {{"capabilities", own_capabilities(texts_of(chosen.hatch, "capabilities"))}}},
                       {"plugin", name},
                       {"hatches", std::move(hatches)},
                       {"configuration", json::object{}},
                       {"profiles", json::object{}},
                       {"targets", std::move(allowed)},
                       {"idle_ms", 60'000},
                       {"grace_ms", 2000},
                       {"cache", false}},
                      fds);
  if (!plugin) return complain(plugin.error(), failed_status);
  front_theirs.reset();
  targets_theirs.reset();

  auto [run, run_theirs] = link::Channel::pair();
  const std::string id = new_ulid();
  json::object body{{"run", id},
                    {"hatch", chosen.text("id")},
                    {"params", chosen.params},
                    {"format", options.json ? "json" : "text"},
                    {"preflight", false},
                    {"caller", {{"name", std::to_string(::getuid())}, {"via", "exec"}}}};
  if (chosen.hatch.contains("kind")) body["kind"] = chosen.text("kind");
  if (!chosen.target.empty()) body["target"] = chosen.target, body["processes"] = "main";

  std::vector<int> descriptors{run_theirs.get()};
  UniqueFd stream, stream_theirs;
  if (chosen.has_flag("interactive")) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return complain(Problem{"internal", "socketpair: " + errno_text(errno)}, failed_status);
    stream = UniqueFd{ends[0]};
    stream_theirs = UniqueFd{ends[1]};
    descriptors.push_back(stream_theirs.get());
  }
  link::Channel to_plugin{std::move(front)};
  to_plugin.send("start", std::move(body), descriptors);
  run_theirs.reset();
  stream_theirs.reset();
  Caller caller{shown(chosen, options, id), link::Channel{std::move(run)}, std::move(to_plugin), plugin->spawned.pid};
  if (stream) caller.relay(std::move(stream));
  return caller.follow();
}

// The target as a plugin process would have it, asked for in place.
Result<void> open_target(link::Channel& targets, const Chosen& chosen, Task& task) {
  const auto ask = [&](std::string_view type, json::object body) -> Result<link::Message> {
    body["tag"] = 1;
    body["target"] = chosen.target;
    targets.send(type, std::move(body));
    link::Message answer;
    if (targets.wait(answer, start_patience_ms) != link::Received::message)
      return refuse("internal", "hatchd: targets does not answer");
    if (const json::object* problem = object_of(answer.body, "problem"))
      return tl::unexpected<Problem>(problem_from_json(*problem));
    return answer;
  };
  auto opened = ask("open", {{"processes", "main"}});
  if (!opened) return tl::unexpected<Problem>(opened.error());
  const json::array* processes = array_of(opened->body, "processes");
  if (!processes || processes->size() != 1 || !processes->front().is_object() || opened->fds.size() != 2)
    return refuse("internal", "hatchd: targets opened something else than one process");
  OpenProcess process;
  process.facts = facts_of(processes->front().get_object());
  process.pidfd = std::move(opened->fds[0]);
  process.directory = std::move(opened->fds[1]);
  process.file_errors.fill(-EACCES);
  const auto fetch = [&](std::uint32_t file, const char* name) {
    auto answer =
        ask("file", {{"pid", process.facts.pid}, {"started_ticks", process.facts.start_ticks}, {"file", name}});
    if (answer && !answer->fds.empty())
      process.files[file] = std::move(answer->fds.front());
    else
      process.file_errors[file] = -ENOENT;
  };
  if (chosen.has_flag("environment")) fetch(HATCH_FILE_ENVIRONMENT, "environment");
  if (chosen.has_flag("target-log")) fetch(HATCH_FILE_LOG, "log");
  if (chosen.has_flag("target-netfiles")) {
    fetch(HATCH_FILE_RESOLV_CONF, "resolv.conf");
    fetch(HATCH_FILE_HOSTS, "hosts");
    fetch(HATCH_FILE_NSSWITCH, "nsswitch.conf");
  }
  fetch(OpenProcess::network, "network");
  task.target_name = chosen.target;
  task.processes.push_back(std::move(process));
  return {};
}

// The hatch is called in this process, so that a debugger has its frames; a forked child is the caller.
int run_in_this_process(const Chosen& chosen, const ExecOptions& options, const std::string& worker) {
  Task task;
  std::optional<Child> looking;
  if (!chosen.target.empty()) {
    auto [ours, theirs] = link::Channel::pair();
    auto started = start_targets(worker, chosen, options, theirs.get());
    if (!started) return complain(started.error(), failed_status);
    looking.emplace(std::move(*started));
    link::Channel targets{std::move(ours)};
    if (auto opened = open_target(targets, chosen, task); !opened) return complain(opened.error(), failed_status);
    // It has done its part. Ended now and not at the end: after drop_rights() this process may signal nobody.
    looking.reset();
  }
  // By its name and not by descriptor: the debugger wants to find its symbols.
  const auto plugin = Plugin::open(fs::absolute(chosen.file).string());
  if (!plugin) return complain(plugin.error(), failed_status);
  task.hatch = plugin->find(chosen.key());
  if (!task.hatch)
    return complain(Problem{"plugin-broken", "it describes itself differently each time"}, failed_status);

  auto [run, caller_end] = link::Channel::pair();
  task.id = new_ulid();
  task.format = options.json ? "json" : "text";
  task.params = chosen.params;
  task.caller = {{"name", std::to_string(::getuid())}, {"via", "exec"}};
  task.deadline = std::chrono::steady_clock::now() + std::chrono::hours{24};  // a person may think for long
  task.max_pause_us = task.hatch->description.max_pause_us;
  task.cancel = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  PauseBoard board;
  task.board = &board;

  const pid_t caller = ::fork();
  if (caller < 0) return complain(Problem{"internal", "fork: " + errno_text(errno)}, failed_status);
  if (caller == 0) {
    run.reset();
    const int status = Caller{shown(chosen, options, task.id), link::Channel{std::move(caller_end)}, {}, -1}.follow();
    std::fflush(nullptr);
    ::_exit(status);
  }
  caller_end.reset();
  task.channel = link::Channel{std::move(run)};
  perform(task);
  task.channel.close();
  int status = 0;
  ::waitpid(caller, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : failed_status;
}

}  // namespace

int exec_command(const ExecOptions& options) {
  // Capabilities that come from hatchd's file are the operator's for the daemon, not the caller's for any plugin.
  if (::getauxval(AT_SECURE) != 0)
    return complain(Problem{"role-missing",
                            "hatchd has more rights than you, from its file; `hatchd exec` runs with yours alone",
                            {},
                            "run a copy of hatchd without file capabilities, or use the daemon with hatchctl"},
                    refused_status);
  const auto worker = supervisor::worker_program();
  if (!worker) return complain(worker.error(), failed_status);
  auto chosen = choose(options, *worker);
  if (!chosen) return complain(chosen.error(), chosen.error().code == "hatch-unknown" ? usage_status : failed_status);
  if (auto fitting = fit(*chosen, options); !fitting) return complain(fitting.error(), usage_status);
  return options.in_process ? run_in_this_process(*chosen, options, *worker)
                            : run_in_plugin_process(*chosen, options, *worker);
}

int check_plugin_command(const std::string& file) {
  const auto worker = supervisor::worker_program();
  if (!worker) return complain(worker.error(), failed_status);
  const UniqueFd object{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!object) return complain(Problem{"plugin-broken", file + ": " + errno_text(errno)}, failed_status);
  const auto manifest = describe(*worker, object.get());
  if (!manifest) {
    std::string text = file + ": " + manifest.error().detail + '\n';
    if (!manifest.error().errors.empty()) {
      text = file + ": wrong in its description:\n";
      for (const FieldError& error : manifest.error().errors) text += "  " + error.pointer + ": " + error.detail + '\n';
    }
    if (!manifest.error().remedy.empty()) text += "remedy: " + manifest.error().remedy + '\n';
    std::printf("%s", hatch::printable(text, true).c_str());
    return failed_status;
  }
  std::string text =
      text_of(*manifest, "plugin") + ' ' + text_of(*manifest, "version") + ": " + text_of(*manifest, "summary") + '\n';
  for (const json::value& value : manifest->at("hatches").as_array()) {
    const json::object& hatch = value.as_object();
    text += "  " + text_of(hatch, "id");
    if (hatch.contains("kind")) text += " (" + text_of(hatch, "kind") + ')';
    text +=
        ": " + text_of(hatch, "title") + "\n    " + text_of(hatch, "effect") + ", target " + text_of(hatch, "target");
    for (const std::string& name : texts_of(hatch, "capabilities")) text += ", " + name;
    for (const std::string& flag : texts_of(hatch, "flags")) text += ", " + flag;
    text += '\n';
  }
  std::printf("%skeeps the contract: nothing is wrong\n", hatch::printable(text, true).c_str());
  return 0;
}

}  // namespace hatchd::worker
