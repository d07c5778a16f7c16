#include "worker/runs.hpp"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <set>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rights.hpp"
#include "hatch/act.hpp"
#include "hatch/network.hpp"
#include "link/protocol.hpp"
#include "schema/schema.hpp"
#include "worker/freed.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

SteadyTime now() { return std::chrono::steady_clock::now(); }

constexpr const char* file_names[OpenProcess::file_count] = {"environment",   "resolv.conf", "hosts",
                                                             "nsswitch.conf", "log",         "network"};

// Overwrites every text within, so that a forked run does not carry the secrets of profiles that are not its own.
void wipe(json::value& value) {
  if (json::string* text = value.if_string()) {
    ::explicit_bzero(text->data(), text->size());
  } else if (json::array* array = value.if_array()) {
    for (json::value& element : *array) wipe(element);
  } else if (json::object* object = value.if_object()) {
    for (auto& member : *object) wipe(member.value());
  }
}

// Who may not has no use for the descriptor.
bool may_enter_networks() {
  const auto held = rights::capabilities();
  return std::binary_search(held.begin(), held.end(), "sys_admin");
}

tl::unexpected<Problem> not_allowed(std::string detail) { return refuse("internal", std::move(detail)); }

}  // namespace

Runs::Runs(Plugin& plugin, Allowance allowance, link::Channel& front, std::vector<int> foreign)
    : plugin_(plugin), allowance_(std::move(allowance)), front_(front), foreign_(std::move(foreign)) {}

Runs::~Runs() = default;

// ---- start
// ------------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Runs::Active>> Runs::admit(link::Message& message) const {
  json::object& body = message.body;
  auto active = std::make_unique<Active>();
  Task& task = active->task;
  task.id = text_of(body, "run");
  if (stopping_) return refuse("shutting-down", "the plugin's process is about to end");
  if (runs_.size() >= allowance_.max_runs)
    return refuse("busy", "this plugin has " + std::to_string(allowance_.max_runs) + " runs already");
  if (message.fds.empty()) return not_allowed("a start without a run channel");
  task.channel = link::Channel{std::move(message.fds[0])};

  const std::string kind = text_of(body, "kind");
  const std::string key = kind.empty() ? text_of(body, "hatch") : text_of(body, "hatch") + ' ' + kind;
  const auto derived = allowance_.derived.find(key);
  task.key = key;
  task.hatch = hatch_of(key);
  // A member of a family ("app.reindex", run by "app.call") may have limits of its own, where the configuration names it.
  const std::string as = text_of(body, "as");
  auto limits = allowance_.hatches.find(key);
  const bool enabled = limits != allowance_.hatches.end();
  if (!as.empty() && enabled && as.starts_with(key.substr(0, key.find('.') + 1)))
    if (const auto own = allowance_.hatches.find(as); own != allowance_.hatches.end()) limits = own;
  if (!task.hatch) return refuse("hatch-unknown", "plugin " + plugin_.name() + " has no hatch " + key);
  if (!enabled) return refuse("hatch-disabled", "the supervisor did not enable " + key);
  active->timeout = limits->second.timeout;
  task.max_pause_us = limits->second.max_pause_us;
  active->pause_limit_ns = static_cast<std::int64_t>(limits->second.max_pause_us) * 1000 +
                           std::chrono::duration_cast<std::chrono::nanoseconds>(pause_slack).count();

  task.preflight = flag_of(body, "preflight");
  task.recording = flag_of(body, "recording");
  if (task.recording && !task.hatch->needs(hatch::act_extension))
    return refuse("internal", key + " would not wait for its record");
  task.format = text_of(body, "format", "json");
  if (const json::object* caller = object_of(body, "caller")) task.caller = *caller;
  task.configuration = derived == allowance_.derived.end() ? allowance_.configuration : derived->second.configuration;
  if (const std::string name = text_of(body, "profile"); !name.empty()) {
    const json::object* profile = object_of(allowance_.profiles, name);
    if (!profile) return refuse("params-invalid", "there is no profile " + name);
    if (!kind.empty() && text_of(*profile, "kind", kind) != kind)
      return refuse("params-invalid", "profile " + name + " is not of kind " + kind);
    task.profile = *profile;
  }
  const json::object* given = object_of(body, "params");
  json::value params = given ? *given : json::object{};
  if (!as.empty()) params.get_object()["named"] = limits->second.named;
  if (auto errors = schema::validate(task.hatch->parameters, params); !errors.empty()) {
    Problem problem{"params-invalid", "the parameters do not fit " + key};
    problem.errors = std::move(errors);
    return tl::unexpected<Problem>(std::move(problem));
  }
  task.params = std::move(params.get_object());

  task.target_name = text_of(body, "target");
  const std::uint32_t use = task.hatch->description.target;
  if (task.target_name.empty()) {
    if (use == HATCH_TARGET_REQUIRED) return refuse("target-required", key + " needs a target");
  } else {
    if (use == HATCH_TARGET_NONE) return refuse("params-invalid", key + " takes no target");
    // "*" stands for the targets that a pattern of the configuration makes; which those are, `hatchd: targets` knows.
    const auto is_allowed = [&](const std::string& name) { return name == task.target_name || name == "*"; };
    if (std::none_of(allowance_.targets.begin(), allowance_.targets.end(), is_allowed))
      return refuse("target-unknown", "the supervisor did not allow target " + task.target_name);
  }
  if (task.hatch->has_flag(HATCH_TARGET_LOG)) {
    const json::object* log = object_of(allowance_.logs, task.target_name);
    if (!log) log = object_of(allowance_.logs, "*");  // of a pattern
    if (log && !task.target_name.empty()) task.log = *log;
  }
  if (task.hatch->has_flag(HATCH_INTERACTIVE) && message.fds.size() > 1) task.stream = std::move(message.fds[1]);
  task.cache_fd = allowance_.cache.get();
  task.filter = allowance_.filter;
  return active;
}

const Hatch* Runs::hatch_of(const std::string& key) const {
  const auto derived = allowance_.derived.find(key);
  return derived == allowance_.derived.end() ? plugin_.find(key) : &derived->second.hatch;
}

void Runs::start(link::Message& message) {
  const std::string id = text_of(message.body, "run");
  if (!is_ulid(id) || runs_.contains(id)) {
    log::warning("start with a run id that is none, or is in use");
    return;
  }
  auto admitted = admit(message);
  if (!admitted) return refuse_run(id, admitted.error());
  const auto at = runs_.emplace(id, std::move(*admitted)).first;
  Active& active = *at->second;
  if (active.task.target_name.empty()) return launch(at);

  active.tag = ++last_tag_;
  active.give_up = now() + targets_patience;
  if (!targets_ || !targets_.send("open", {{"tag", active.tag},
                                           {"target", active.task.target_name},
                                           {"processes", text_of(message.body, "processes", "main")}}))
    refuse_run(id, Problem{"internal", "hatchd: targets cannot be asked just now; try again"});
}

void Runs::refuse_run(std::string id, const Problem& problem) {
  front_.send("refused", {{"run", id}, {"problem", to_json(problem)}});
  runs_.erase(id);
}

Runs::Iterator Runs::by_tag(std::uint64_t tag) {
  return std::find_if(runs_.begin(), runs_.end(), [&](const auto& entry) {
    return entry.second->tag == tag &&
           (entry.second->phase == Phase::opening || entry.second->phase == Phase::fetching);
  });
}

// ---- the target
// -------------------------------------------------------------------------------------------------------

void Runs::use_targets(link::Channel channel) {
  // Questions that the old channel did not answer will not be answered.
  targets_ = std::move(channel);
  std::vector<std::string> waiting;
  for (const auto& [id, active] : runs_)
    if (active->phase == Phase::opening || active->phase == Phase::fetching) waiting.push_back(id);
  for (const std::string& id : waiting)
    refuse_run(id, Problem{"internal", "hatchd: targets ended before it answered; try again"});
}

void Runs::read_targets() {
  for (;;) {
    link::Message message;
    switch (targets_.receive(message)) {
      case link::Received::nothing: return;
      case link::Received::ended:
      case link::Received::broken: return use_targets({});
      case link::Received::message: break;
    }
    const auto at = by_tag(static_cast<std::uint64_t>(number_of(message.body, "tag")));
    if (at == runs_.end()) continue;  // the run was given up meanwhile
    if (at->second->phase == Phase::fetching) {
      file_answer(*at->second, message);
      next_file(at);
    } else if (message.type == "opened") {
      opened(at, message);
    } else {
      const json::object* problem = object_of(message.body, "problem");
      refuse_run(at->first,
                 problem ? problem_from_json(*problem) : Problem{"internal", "hatchd: targets gave no answer"});
    }
  }
}

void Runs::opened(Iterator at, link::Message& message) {
  Active& active = *at->second;
  Task& task = active.task;
  const json::array* processes = array_of(message.body, "processes");
  if (!processes || processes->empty() || message.fds.size() != processes->size() * 2)
    return refuse_run(at->first, Problem{"internal", "hatchd: targets opened the target without its processes"});
  const Hatch& hatch = *task.hatch;
  for (std::size_t i = 0; i < processes->size(); ++i) {
    const json::object* entry = (*processes)[i].if_object();
    if (!entry) return refuse_run(at->first, Problem{"internal", "hatchd: targets said something else than a process"});
    OpenProcess process;
    process.facts = facts_of(*entry);
    process.pidfd = std::move(message.fds[2 * i]);
    process.directory = std::move(message.fds[2 * i + 1]);
    process.file_errors.fill(-EACCES);
    if (process.facts.main || i == 0)
      active.target = {{"name", task.target_name}, {"pid", process.facts.pid}, {"started", text_of(*entry, "started")}};
    if (hatch.has_flag(HATCH_ENVIRONMENT)) active.wanted.emplace_back(i, HATCH_FILE_ENVIRONMENT);
    // A target has one log and, as far as we look, one network set-up: those of its main process.
    if (process.facts.main) {
      if (hatch.has_flag(HATCH_TARGET_LOG)) active.wanted.emplace_back(i, HATCH_FILE_LOG);
      if (hatch.has_flag(HATCH_TARGET_NETFILES))
        for (const std::uint32_t file : {HATCH_FILE_RESOLV_CONF, HATCH_FILE_HOSTS, HATCH_FILE_NSSWITCH})
          active.wanted.emplace_back(i, file);
    }
    if ((process.facts.main || processes->size() == 1) && hatch.needs(hatch::network_extension) && may_enter_networks())
      active.wanted.emplace_back(i, OpenProcess::network);
    task.processes.push_back(std::move(process));
  }
  task.processes_counted = number_of(message.body, "counted");
  active.phase = Phase::fetching;
  next_file(at);
}

void Runs::next_file(Iterator at) {
  Active& active = *at->second;
  if (active.wanted.empty()) return launch(at);
  const auto& [index, file] = active.wanted.back();
  const hatch_process& facts = active.task.processes[index].facts;
  active.tag = ++last_tag_;
  if (!targets_.send("file", {{"tag", active.tag},
                              {"pid", facts.pid},
                              {"started_ticks", facts.start_ticks},
                              {"file", file_names[file]},
                              {"target", active.task.target_name}}))
    refuse_run(at->first, Problem{"internal", "hatchd: targets cannot be asked just now; try again"});
}

void Runs::file_answer(Active& active, link::Message& message) {
  const auto [index, file] = active.wanted.back();
  active.wanted.pop_back();
  OpenProcess& process = active.task.processes[index];
  if (message.type == "file" && !message.fds.empty()) {
    process.files[file] = std::move(message.fds.front());
    return;
  }
  const json::object* problem = object_of(message.body, "problem");
  process.file_errors[file] = problem && text_of(*problem, "code") == "rights-missing" ? -EACCES : -ENOENT;
}

// ---- the process
// ------------------------------------------------------------------------------------------------------

void Runs::launch(Iterator at) {
  Active& active = *at->second;
  active.task.deadline = now() + active.timeout;
  if (!hand_to_spare(active) && !fork_run(active))
    return refuse_run(at->first, Problem{"internal", "no process for a run: " + errno_text(errno)});

  active.phase = Phase::running;
  // From here on these belong to the run alone: the other end of its channel shall see it end.
  active.task.channel.close();
  active.task.stream.reset();
  active.task.processes.clear();
  json::object body{{"run", at->first}, {"pid", active.process.pid}};
  if (!active.target.empty()) body["target"] = active.target;
  front_.send("started", std::move(body));
}

bool Runs::hand_to_spare(Active& active) {
  if (spare_.pid < 0 || !send_task(spare_.channel, active.task)) return false;
  active.process = std::exchange(spare_, {});
  return true;
}

bool Runs::fork_run(Active& active) {
  UniqueFd errors = active.process.prepare();
  if (!errors) return false;
  const pid_t parent = ::getpid();
  active.process.pid = ::fork();
  if (active.process.pid != 0) return active.process.pid > 0;
  active.task.cancel = std::move(active.process.cancel);
  active.task.board = active.process.board;
  become_child(std::move(errors), &active);
  leave_plugin_process(parent);
  run_process(active.task, parent);
}

void Runs::make_spare() {
  spare_at_ = SteadyTime::max();
  if (!plugin_.prepare()) {
    log::error("prepare() of the plugin started a thread, which no fork has: its process begins anew",
               {{"plugin", plugin_.name()}});
    ::_exit(link::exit_prepare);
  }
  UniqueFd errors = spare_.prepare();
  auto [ours, theirs] = link::Channel::pair();
  const pid_t parent = ::getpid();
  const pid_t pid = errors && ours ? ::fork() : -1;
  if (pid == 0) {
    Task task;
    task.cancel = std::move(spare_.cancel);
    task.board = std::exchange(spare_.board, nullptr);
    ours.reset();
    become_child(std::move(errors), nullptr);
    leave_plugin_process(parent);
    wait_for_task(link::Channel{std::move(theirs)}, std::move(task), parent);
  }
  if (pid < 0) {
    spare_ = {};  // not again before the next run, which will fork
    return;
  }
  spare_.pid = pid;
  spare_.channel = link::Channel{std::move(ours)};
}

// In a forked process: what it has of its plugin process and must not keep. `own`: the run that it will be, if it is known.
void Runs::become_child(UniqueFd errors, const Active* own) {
  ::dup2(errors.get(), STDOUT_FILENO);
  ::dup2(errors.get(), STDERR_FILENO);
  errors.reset();
  for (const int fd : foreign_) ::close(fd);
  front_.close();
  targets_.close();
  spare_ = {};
  for (auto& [id, active] : runs_) {
    active->process.errors = {};
    active->process.channel.close();
    if (active.get() != own) active.reset();
  }
  json::value profiles = std::move(allowance_.profiles);
  wipe(profiles);
  json::value logs = std::move(allowance_.logs);
  wipe(logs);
  for (auto& [key, derived] : allowance_.derived) {
    json::value others = std::move(derived.configuration);
    wipe(others);
  }
  wipes_freed = false;
}

// The life of a spare: what it will write to it copies now. With the plugin process it ends.
void Runs::wait_for_task(link::Channel channel, Task task, pid_t parent) {
  rights::set_title("hatchd: spare " + plugin_.name());
  Pages::make_room();
  pages_.own();
  channel.send("spare");
  pages_.map_code();
  pages_.touch();
  link::Message message;
  if (channel.wait(message, -1) != link::Received::message || !take_task(message, task)) ::_exit(0);
  task.hatch = hatch_of(task.key);
  task.cache_fd = allowance_.cache.get();
  task.filter = allowance_.filter;
  message = {};
  channel.close();
  if (!task.hatch) ::_exit(0);
  run_process(task, parent);
}

void Runs::cancel(const std::string& run) {
  const auto at = runs_.find(run);
  if (at == runs_.end()) return;
  switch (at->second->phase) {
    case Phase::opening:
    case Phase::fetching: return refuse_run(run, Problem{"run-cancelled", "the run was cancelled before it began"});
    case Phase::running: return ask(*at->second, "cancelled");
    case Phase::sweeping: return;
  }
}

void Runs::ask(Active& active, const char* why) {
  if (active.asked) return;
  active.asked = why;
  active.kill_at = now() + allowance_.grace;
  ::eventfd_write(active.process.cancel.get(), 1);
}

void Runs::kill(Active& active) {
  active.killed = true;
  active.kill_at = SteadyTime::max();
  // The process first: it is our child and not reaped, so the number is its own; then the rest of its group.
  ::kill(active.process.pid, SIGKILL);
  ::kill(-active.process.pid, SIGKILL);
}

void Runs::stop(std::chrono::milliseconds grace) {
  stopping_ = true;
  std::vector<std::string> waiting;
  for (const auto& [id, active] : runs_) {
    if (active->phase == Phase::running) {
      ask(*active, grace.count() > 0 ? "cancelled" : "gone");
      active->kill_at = std::min(active->kill_at, now() + grace);
    } else if (active->phase != Phase::sweeping) {
      waiting.push_back(id);
    }
  }
  for (const std::string& id : waiting)
    refuse_run(id, Problem{"shutting-down", "the plugin's process is about to end"});
}

SteadyTime Runs::tick() {
  SteadyTime next = SteadyTime::max();
  const SteadyTime at = now();
  std::vector<std::string> unanswered;
  for (auto& [id, active] : runs_) {
    if (active->phase == Phase::opening || active->phase == Phase::fetching) {
      if (at >= active->give_up) unanswered.push_back(id);
      next = std::min(next, active->give_up);
      continue;
    }
    if (active->phase == Phase::sweeping) {
      next = std::min(next, active->give_up);
      continue;
    }
    if (at >= active->task.deadline) ask(*active, "deadline");
    // A pause that begins now is too long after its limit, so there is no need to look again before that.
    if (!active->target.empty() && !active->killed) {
      const std::int64_t since = active->process.board->since_ns, clock = monotonic_ns();
      const std::int64_t left = active->pause_limit_ns - (since == 0 ? 0 : clock - since);
      if (left <= 0) {
        active->asked = "pause";
        kill(*active);
      } else {
        next = std::min(next, at + std::chrono::nanoseconds(left));
      }
    }
    if (at >= active->kill_at) kill(*active);
    next = std::min(next, active->kill_at);
    if (!active->asked) next = std::min(next, active->task.deadline);
  }
  for (const std::string& id : unanswered)
    refuse_run(id, Problem{"internal", "hatchd: targets did not answer within 5 seconds; try again"});
  sweep();
  if (runs_.empty() && !stopping_) {
    if (at >= spare_at_) make_spare();
    next = std::min(next, spare_at_);
  }
  return next;
}

void Runs::add_fds(std::vector<pollfd>& entries) const {
  for (const auto& [id, active] : runs_)
    if (active->process.errors.fd() >= 0) entries.push_back({active->process.errors.fd(), POLLIN, 0});
  if (spare_.channel) entries.push_back({spare_.channel.fd(), POLLIN, 0});
}

void Runs::read_fds() {
  for (const auto& [id, active] : runs_) active->process.errors.read(id);
  link::Message message;
  if (!spare_.channel) return;
  switch (spare_.channel.receive(message)) {
    case link::Received::nothing: break;
    // It has copied what we share: the rest is ours again at less than a copy of each page.
    case link::Received::message: pages_.own(); break;
    case link::Received::ended:
    case link::Received::broken: spare_.channel.close(); break;
  }
}

// ---- the end
// ----------------------------------------------------------------------------------------------------------

void Runs::children_changed() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    // The kernel takes it when memory runs out: no other one before there is another run.
    if (pid == spare_.pid) spare_ = {};
    const auto at = std::find_if(runs_.begin(), runs_.end(), [&](const auto& entry) {
      return entry.second->process.pid == pid && entry.second->phase == Phase::running;
    });
    if (at == runs_.end()) continue;  // what a run had left behind
    Active& active = *at->second;
    active.phase = Phase::sweeping;
    active.by_signal = WIFSIGNALED(status);
    active.status = active.by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
    active.give_up = now() + sweep_patience;
    // It died while it held the target: that pause ended with it.
    PauseBoard& board = *active.process.board;
    if (board.since_ns != 0)
      board.longest_ns = std::max<std::int64_t>(board.longest_ns, monotonic_ns() - board.since_ns);
  }
  sweep();
}

// A run's orphans become our children, since we are the subreaper; their own orphans follow once they are dead. Spares
// the living runs and what belongs to their sessions; a child of an unknown session is a daemon that some run made.
bool Runs::leftovers_killed() {
  siginfo_t any{};
  if (::waitid(P_ALL, 0, &any, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD) return true;  // mostly
  std::set<pid_t> living{spare_.pid};
  for (const auto& [id, active] : runs_)
    if (active->phase == Phase::running) living.insert(active->process.pid);
  bool none = true;
  for (const pid_t pid : children_of_this_process()) {
    if (living.contains(pid) || living.contains(::getsid(pid))) continue;
    ::kill(pid, SIGKILL);
    none = false;
  }
  return none;
}

void Runs::sweep() {
  const auto sweeping = [](const auto& entry) { return entry.second->phase == Phase::sweeping; };
  if (std::none_of(runs_.begin(), runs_.end(), sweeping)) return;
  const bool none = leftovers_killed();
  for (auto at = runs_.begin(); at != runs_.end();) {
    const Active& active = *at->second;
    if (active.phase != Phase::sweeping || (!none && now() < active.give_up)) {
      ++at;
      continue;
    }
    if (!none) log::warning("what a run left behind does not die", {{"run", at->first}});
    at->second->process.errors.finish(at->first);
    report_ended(at->first, active);
    at = runs_.erase(at);
    if (spare_.pid < 0) spare_at_ = now() + spare_after;
  }
}

void Runs::report_ended(const std::string& id, const Active& active) {
  json::object body{{"run", id},
                    {"how", active.by_signal ? "signal" : "exit"},
                    {"status", active.status},
                    {"asked", nullptr},
                    {"killed", active.killed},
                    {"longest_pause_us", active.process.board->longest_ns / 1000}};
  if (active.asked) body["asked"] = active.asked;
  front_.send("ended", std::move(body));
}

}  // namespace hatchd::worker
