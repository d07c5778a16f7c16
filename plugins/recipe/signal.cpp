// kind signal: one signal to the main process of the target, where it has a meaning there.
#include <signal.h>
#include <sys/syscall.h>

#include <boost/json.hpp>

#include "recipe/recipe.hpp"
#include "stack/printed.hpp"
#include "stack/procfs.hpp"

namespace recipe {
namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds end_patience{250}, output_patience{5'000};
constexpr std::size_t max_output = 64 * 1024;

std::string text_at(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string{};
}

// The number of "USR1"; 0 for what is none. RTMIN and its like are those of this process's C library.
int number_of(const std::string& name) {
  for (int number = 1; number < SIGRTMIN; ++number)
    if (const char* abbreviation = ::sigabbrev_np(number); abbreviation && name == abbreviation) return number;
  for (int i = 0; i <= SIGRTMAX - SIGRTMIN; ++i)
    if (name == "RTMIN+" + std::to_string(i) || name == "RTMAX-" + std::to_string(SIGRTMAX - SIGRTMIN - i))
      return SIGRTMIN + i;
  return name == "RTMIN" ? SIGRTMIN : name == "RTMAX" ? SIGRTMAX : 0;
}

hatch_process main_process(const hatch::Run& run) {
  for (const hatch_process& process : run.processes())
    if (process.main) return process;
  throw hatch::Failure("the target has no process");
}

std::string status_of(const hatch_process& process) {
  const auto status = stack::read_below(process.proc_fd, "status", 16 * 1024);
  if (!status) throw hatch::Failure("process " + std::to_string(process.pid) + " has ended");
  return *status;
}

// What a signal does where nobody catches it (signal(7)).
bool ends_or_stops(int number) {
  return number != SIGCHLD && number != SIGURG && number != SIGWINCH && number != SIGCONT;
}

struct Plan {
  hatch_process process;
  int number;
  std::string name;
  std::string meaning;  // "which catches it"
};

Plan plan(const hatch::Run& run, const Recipe& recipe) {
  Plan plan{main_process(run), 0, text_at(recipe.written(), "signal"), {}};
  plan.number = number_of(plan.name);
  if (plan.number == 0) throw hatch::Failure("there is no signal " + plan.name + " here");
  const std::string who = "process " + std::to_string(plan.process.pid);
  const bool disrupts = text_at(recipe.written(), "effect") == "disrupt";
  const std::string status = status_of(plan.process);
  if (stack::has_signal(status, "SigCgt", plan.number))
    plan.meaning = "which catches it";
  else if (stack::has_signal(status, "SigIgn", plan.number))
    throw hatch::Failure(who + " ignores SIG" + plan.name + ": nothing would come of it");
  else if (ends_or_stops(plan.number) && !disrupts)
    throw hatch::Failure(who + " does not catch SIG" + plan.name +
                         ": it would end or stop; a recipe that is meant to do that says \"effect\": \"disrupt\"");
  else
    plan.meaning = "which leaves it to the kernel";
  return plan;
}

// Its standard output and error and its log, as far as they are files that can be read, from now on. `why`: what is none.
stack::Printed follow_output(const hatch::Run& run, const hatch_process& process, std::string& why) {
  stack::Printed printed;
  for (const auto& [number, name] : {std::pair{1, "standard output"}, std::pair{2, "standard error"}}) {
    const std::string reason = printed.follow({process.pid, process.pidfd, process.proc_fd}, number);
    if (!reason.empty()) why += (why.empty() ? "its " : "; its ") + std::string(name) + " is " + reason;
  }
  const std::vector<hatch_process> all = run.processes();
  for (std::uint32_t i = 0; i < all.size(); ++i)
    if (all[i].main) printed.follow(stack::UniqueFd{run.target_file(i, HATCH_FILE_LOG)});
  return printed;
}

hatch::Failure not_allowed(const hatch_process& process) {
  return hatch::Failure::rights(
      "the kernel refuses to signal process " + std::to_string(process.pid) + ", which belongs to another user",
      {"CAP_KILL"},
      "systemd: AmbientCapabilities=CAP_KILL in hatchd's unit, or User= the target's user; "
      "Kubernetes: securityContext.capabilities.add: [KILL], or runAsUser: the app's uid");
}

}  // namespace

hatch::Result try_signal(hatch::Run& run) {
  const Recipe recipe{run};
  const Plan it = plan(run, recipe);
  if (const std::string in_log = recipe.fill(text_at(recipe.part("expect"), "log")); !in_log.empty())
    need(common::Follower{run, in_log}, run);
  // Signal 0 asks for the right alone (kill(2)).
  if (::syscall(SYS_pidfd_send_signal, it.process.pidfd, 0, nullptr, 0) != 0 && errno == EPERM)
    throw not_allowed(it.process);
  return hatch::Result{"SIG" + it.name + " can be sent to process " + std::to_string(it.process.pid) + ", " +
                       it.meaning + "."};
}

hatch::Result run_signal(hatch::Run& run) {
  const Recipe recipe{run};
  const std::string in_log = recipe.fill(text_at(recipe.part("expect"), "log"));
  const Plan it = plan(run, recipe);
  std::optional<common::Follower> log;
  if (!in_log.empty()) log = follow(run, in_log);
  std::string no_output;
  const stack::Printed printed = follow_output(run, it.process, no_output);

  const auto begin = std::chrono::steady_clock::now();
  const std::string who = "process " + std::to_string(it.process.pid);
  if (::syscall(SYS_pidfd_send_signal, it.process.pidfd, it.number, nullptr, 0) != 0) {
    if (errno == EPERM) throw not_allowed(it.process);
    throw hatch::Failure(who + " could not be signalled: " + std::strerror(errno));
  }
  hatch::Result result;
  result.step("signal", since(begin), true, "SIG" + it.name + " to " + who);
  result.add("signal", it.name).add("pid", it.process.pid);
  std::string verdict = "SIG" + it.name + " was sent to " + who + ", " + it.meaning;
  if (log) {
    const std::vector<common::Reported> found = log->look(run, begin, log_patience);
    result.step("log", since(begin), !found.empty());
    add_reported(result, *log, found);
    if (found.empty()) {
      const std::string sentence = not_there(*log, in_log);
      result.verdict(verdict + ", but " + sentence + ".");
      throw hatch::Failure(sentence).with(std::move(result));
    }
    verdict += ", and the log shows what was expected";
  }
  // It may end by it. What it writes is waited for as long as more of it comes.
  bool ended = false;
  std::uint64_t size = 0;
  for (const auto last = begin + output_patience; !ended;) {
    ended = run.wait(it.process.pidfd, POLLIN, end_patience);
    const std::uint64_t now = printed.size();
    if (now == size || now > max_output || std::chrono::steady_clock::now() > last) break;
    size = now;
  }
  if (printed.any())
    result.add("output", stack::without_locals(printed.text(max_output))).add("source", printed.source());
  else
    result.add("output_missing", no_output + "; where it writes to a log, name that: targets.NAME.log.file");
  if (printed.size() > max_output) result.add("output_cut", true);
  result.add("ended", ended);
  if (ended && text_at(recipe.written(), "effect") != "disrupt") {
    result.verdict(verdict + ", and has ended.");
    throw hatch::Failure(who + " has ended after SIG" + it.name).with(std::move(result));
  }
  return result.verdict(verdict + (ended ? ", and has ended." : "."));
}

}  // namespace recipe
