#include "stack/gather.hpp"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <thread>

#include "stack/cache/tables.hpp"
#include "stack/memory.hpp"
#include "stack/modules.hpp"
#include "stack/perf_map.hpp"
#include "stack/refusal.hpp"
#include "stack/runtimes.hpp"
#include "stack/stop.hpp"
#include "stack/threads.hpp"
#include "stack/waiting.hpp"
#include "stack/watch.hpp"

namespace stack {
namespace {

constexpr std::size_t maps_limit = std::size_t{32} << 20;

Trouble gone(pid_t pid) { return {Trouble::Kind::gone, "process " + std::to_string(pid) + " has ended", {}, {}}; }

// A number that is alive: of the main thread, or of another when that one has ended before the process. The list is
// made only then: a thousand entries take the kernel a millisecond.
pid_t living_thread(const Process& target) {
  const auto lives = [&](pid_t tid) {
    const auto text = read_record(target.proc_fd, "task/" + std::to_string(tid) + "/stat");
    const auto stat = text ? parse_stat(*text) : std::nullopt;
    return stat && stat->state != 'Z' && stat->state != 'X';
  };
  if (lives(target.pid)) return target.pid;
  const std::vector<pid_t> all = list_threads(target.proc_fd);
  const auto found = std::find_if(all.begin(), all.end(), lives);
  return found == all.end() ? 0 : *found;
}

// For the threads that are started while it lives: stops are told by SIGCHLD, which must wait for who asks for it.
class BlockedChildSignal {
 public:
  BlockedChildSignal() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::pthread_sigmask(SIG_BLOCK, &child, &before_);
  }
  ~BlockedChildSignal() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedChildSignal(const BlockedChildSignal&) = delete;

 private:
  sigset_t before_;
};

// The fences of a reader that reads while all threads stand still.
class WithinStop final : public Hold {
 public:
  WithinStop(Hold& hold, Clock::time_point deadline) : hold_(hold), deadline_(deadline) {}
  void begin() override {}
  void end() override {}
  bool cancelled() override { return Clock::now() >= deadline_ || hold_.cancelled(); }
  Micros max_pause() const override {
    return std::max(Micros{0}, std::chrono::duration_cast<Micros>(deadline_ - Clock::now()));
  }

 private:
  Hold& hold_;
  Clock::time_point deadline_;
};

// False: cancelled.
bool copy_threads(const Process& target, const Options& options, Hold& hold, ProcessCopy& process, bool with_reader) {
  if (options.pause == Pause::none) return copy_unstopped(target, options, hold, process);
  WhileStopped besides;
  if (with_reader)
    besides = [&](Clock::time_point deadline) {
      WithinStop within{hold, deadline};
      return process.reader->gather(options, within);
    };
  const Outcome outcome = options.pause == Pause::all ? copy_together(target, options, hold, process, besides)
                                                      : copy_one_by_one(target, options, hold, process);
  if (outcome == Outcome::out_of_budget)
    process.note = "the pause budget of " + std::to_string(hold.max_pause().count()) +
                   " us was used up, and all threads were let go";
  return outcome != Outcome::cancelled;
}

// A sleep that an earlier stop interrupted goes on as restart_syscall (restart_syscall(2)), which says nothing. The
// threads sleep again by now, so the kernel's function tells.
void name_restarted_calls(const Process& target, ProcessCopy& process) {
  for (ThreadCopy& thread : process.threads) {
    if (thread.waiting_on != "restart_syscall") continue;
    const auto wchan = read_below(target.proc_fd, "task/" + std::to_string(thread.tid) + "/wchan", 128);
    if (std::string name = kernel_wait_name(wchan.value_or("")); !name.empty()) thread.waiting_on = std::move(name);
  }
}

// Copies native stacks, lets the reader read while all threads stand still, or both. False: cancelled.
bool gather_threads(const Process& target, const Options& options, Hold& hold, ProcessCopy& process, bool with_reader) {
  process.threads.clear();
  // A thread of its own for each process: its end lets go of all that it traced (stop.hpp).
  bool finished = true;
  std::exception_ptr bug;
  const BlockedChildSignal blocked;
  std::thread([&] {
    try {
      finished = copy_threads(target, options, hold, process, with_reader);
    } catch (...) {
      bug = std::current_exception();
    }
  }).join();
  if (bug) std::rethrow_exception(bug);
  explain_unstopped(target, process);
  for (const ThreadCopy& thread : process.threads) process.paused = std::max(process.paused, thread.held);
  if (!process.native) return finished;

  name_restarted_calls(target, process);
  process.perf_map = read_perf_map(target);
  std::stable_sort(process.threads.begin(), process.threads.end(),
                   [](const ThreadCopy& a, const ThreadCopy& b) { return a.tid < b.tid; });
  const auto read = std::count_if(process.threads.begin(), process.threads.end(),
                                  [](const auto& t) { return t.registers.has_value(); });
  // Where threads are missing the process may be on its way out, and the kernel done with it in a moment.
  const int patience_ms = static_cast<std::size_t>(read) < process.threads.size() ? 20 : 0;
  if (finished && !process.trouble && has_ended(target.pidfd, target.proc_fd, patience_ms)) {
    if (read > 0)
      process.note = "the process ended while it was being read";
    else
      process.trouble = gone(target.pid);
  }
  if (process.threads.size() >= max_threads)
    process.note = "only the first " + std::to_string(max_threads) + " threads were read";
  return finished;
}

// Finds the runtime that `mode` asks for; process.trouble says when the process has none.
void choose_reader(const Subject& subject, const std::string& mode, ProcessCopy& process) {
  if (mode == "native") return;
  process.reader = detect_runtime(subject, mode);
  if (process.reader || mode == "auto" || mode == "all") return;
  const auto other = detect_runtime(subject, "auto");
  process.trouble = {Trouble::Kind::other,
                     "mode=" + mode + " does not fit process " + std::to_string(process.pid) + ", which " +
                         (other ? "runs " + other->runtime() : "shows no such runtime"),
                     {},
                     "mode=auto takes what each process runs, mode=native fits all"};
}

// What is to be known before anything is copied. False: process.trouble says why it is not.
bool look_at(const Process& target, const Options& options, ProcessCopy& process) {
  process.pid = target.pid;
  process.target = target;
  process.memory = std::make_shared<StackMemory>();
  process.name = read_below(target.proc_fd, "comm", 64).value_or("");
  process.name.resize(std::min(process.name.find('\n'), process.name.size()));
  const pid_t living = living_thread(target);
  if (living == 0) {
    process.trouble = gone(target.pid);
    return false;
  }
  // Files of the main thread's directory are empty when it has ended: take those of a living one.
  const auto maps = read_below(target.proc_fd, "task/" + std::to_string(living) + "/maps", maps_limit);
  if (!maps) {
    process.trouble =
        errno == EACCES || errno == EPERM ? explain_refusal(target, living, Refused::tracing) : gone(target.pid);
    return false;
  }
  process.mappings = parse_maps(*maps);
  process.modules = group_modules(process.mappings);
  // Before the stop, so that names survive a target that ends under our hands.
  open_modules({living, target.pidfd, target.proc_fd}, process.mappings, process.modules);
  process.tables = std::make_shared<cache::Tables>(process.modules, options.cache);
  choose_reader({process.target, living, process.mappings, process.modules}, options.mode, process);
  return !process.trouble;
}

// False: cancelled.
bool gather_one(const Process& target, const Options& options, Hold& hold, ProcessCopy& process) {
  if (!look_at(target, options, process)) return true;
  process.native = !process.reader || options.mode == "all";
  const bool in_stop = process.reader && process.reader->reads_memory() && options.pause == Pause::all;
  if (process.reader && !in_stop && !process.reader->gather(options, hold)) return false;
  if ((process.native || in_stop) && !gather_threads(target, options, hold, process, in_stop)) return false;
  if (process.native || process.trouble || process.reader->has_stacks() || options.mode != "auto") return true;
  process.native = true;
  return gather_threads(target, options, hold, process, false);
}

}  // namespace

std::optional<Trouble> foresee(const Process& target, const Options& options, std::string& how) {
  ProcessCopy process;
  how.clear();
  if (!look_at(target, options, process)) return process.trouble;
  if (process.reader) how = process.reader->foresee(options);
  if (!how.empty()) how = process.reader->runtime() + ", " + how;
  return std::nullopt;
}

Gathered gather(const std::vector<Process>& processes, const Options& options, Hold& hold) {
  Gathered gathered;
  for (const Process& target : processes) {
    ProcessCopy& process = gathered.processes.emplace_back();
    if (!gather_one(target, options, hold, process)) {
      gathered.cancelled = true;
      break;
    }
  }
  return gathered;
}

}  // namespace stack
