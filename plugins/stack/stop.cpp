#include "stack/stop.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <unordered_map>

#include "hatch/access.hpp"
#include "stack/cache/apart.hpp"
#include "stack/cache/walk.hpp"
#include "stack/interruption.hpp"
#include "stack/refusal.hpp"
#include "stack/threads.hpp"
#include "stack/waiting.hpp"
#include "stack/watch.hpp"

namespace stack {
namespace {

using namespace std::chrono_literals;

// A thread stops within microseconds, or it is in a sleep that nothing interrupts (state D) and may stay there.
constexpr auto stop_limit = 20ms;
constexpr auto uninterruptible_stop_limit = 2ms;
constexpr auto late_limit = 1000ms;
constexpr int quick_looks = 2;        // a thread that sleeps on another CPU stops within the time of a system call
constexpr std::size_t max_late = 64;  // asked to stop, have not yet, and are still looked after
constexpr std::size_t warm_bytes = 64 * 1024;
constexpr int attempts = 3;              // to read a thread where it sleeps
constexpr int max_passes = 8;            // over the list of threads: how long we run after a storm of new ones
constexpr auto letting_go = 3us;         // of one thread, which a budget must have left
constexpr auto other_run_limit = 3s;     // in all, for other runs to let go of threads
constexpr auto other_copy_limit = 50ms;  // the same while threads may stand still

enum class Stop { stopped, gone, not_yet };

// Looks once whether `tid` has stopped. `signal`: the one that was on its way to the thread, for DETACH to pass on.
// WNOTHREAD: only what this very thread traces, should the target also be a child of our process.
Stop look(pid_t tid, int& signal) {
  int status = 0;
  const pid_t answer = ::waitpid(tid, &status, __WALL | __WNOTHREAD | WNOHANG);
  if (answer == 0 || (answer < 0 && errno == EINTR)) return Stop::not_yet;
  if (answer < 0 || !WIFSTOPPED(status)) return Stop::gone;
  signal = status >> 16 ? 0 : WSTOPSIG(status);  // an event (our interrupt, a group stop, a clone) carries none
  return Stop::stopped;
}

// waitpid(2) knows no time limit, so we sleep for the SIGCHLD that comes with a stop, and look. Sleeping and not
// spinning: where every CPU is busy the thread that is to stop needs ours. gather() has blocked SIGCHLD; should another
// thread of the process take it from us, the short slices find the stop all the same.
Stop wait_for_stop(pid_t tid, int& signal, Clock::time_point deadline) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  for (int turn = 0;; ++turn) {
    const Stop state = look(tid, signal);
    const auto left = deadline - Clock::now();
    if (state != Stop::not_yet || left <= 0s) return state;
    const timespec slice{0, std::min<std::chrono::nanoseconds>(left, 1ms).count()};
    if (turn >= quick_looks) ::sigtimedwait(&child, nullptr, &slice);
  }
}

// Two runs may look at one target at the same time, and a thread has one tracer. Who comes second waits for the first,
// which holds a thread for the time of a copy; not for a debugger, which may stay for hours.
class OtherRuns {
 public:
  OtherRuns(const Process& target, Hold& hold) : target_(target), hold_(hold) {}

  // After SEIZE said EPERM: is it worth to ask once more? Naps for a moment then.
  bool may_let_go(pid_t tid) {
    const auto now = Clock::now();
    if (end_ == Clock::time_point{}) end_ = now + other_run_limit;
    // Where nothing forbids it, the thread was traced when we asked, or is about to end.
    if (now >= end_ || hold_.cancelled() || hatch::try_access(tid) != 0) return false;
    if (tracer_of(target_, tid).kind == Tracer::Kind::other) return false;
    std::this_thread::sleep_for(200us);
    return true;
  }

 private:
  const Process& target_;
  Hold& hold_;
  Clock::time_point end_{};
};

bool read_registers(ThreadCopy& thread) {
  user_regs_struct raw{};
  iovec into{&raw, sizeof raw};
  if (::ptrace(PTRACE_GETREGSET, thread.tid, NT_PRSTATUS, &into) < 0) return false;
  thread.registers = registers_of(raw);
#if defined(__x86_64__)
  const std::uint64_t call = raw.orig_rax;
#else
  int number = -1;
  iovec call_into{&number, sizeof number};
  const bool known = ::ptrace(PTRACE_GETREGSET, thread.tid, NT_ARM_SYSTEM_CALL, &call_into) == 0 && number >= 0;
  const std::uint64_t call = known ? static_cast<std::uint64_t>(number) : no_system_call;
#endif
  // Only of a thread that slept when it was listed: another may just have passed through a call.
  if (call != no_system_call && (thread.state == 'S' || thread.state == 'D'))
    thread.waiting_on = system_call_name(call);
  return true;
}

void detach(pid_t tid, int signal) {
  // ESRCH: it was killed meanwhile, or has not stopped; the end of this thread lets go of it then.
  ::ptrace(PTRACE_DETACH, tid, 0, signal);
}

std::string why_not_stopped(const Process& target, const ThreadCopy& thread) {
  const std::string task = "task/" + std::to_string(thread.tid);
  const auto text = read_below(target.proc_fd, task + "/stat", 4096);
  const auto stat = text ? parse_stat(*text) : std::nullopt;
  if (!stat) return "ended before it could be read";
  const std::string wchan = read_below(target.proc_fd, task + "/wchan", 128).value_or("");
  std::string reason = std::string("did not stop: state ") + stat->state;
  if (!wchan.empty() && wchan != "0") reason += ", in the kernel's " + wchan;
  if (wchan == "kernel_clone") reason += " (a parent in vfork waits for its child)";
  return reason;
}

// What SEIZE said no to. Sets process.trouble when it is not this thread alone.
bool refused(const Process& target, int error, ProcessCopy& process, ThreadCopy& thread, bool any_read) {
  if (error == ESRCH) {
    thread.error = "ended before it could be read";
    return false;
  }
  const auto text = read_below(target.proc_fd, "task/" + std::to_string(thread.tid) + "/stat", 4096);
  if (const auto stat = text ? parse_stat(*text) : std::nullopt; !stat || stat->state == 'Z' || stat->state == 'X') {
    thread.error = "ended before it could be read";
    return false;
  }
  const Trouble trouble = explain_refusal(target, thread.tid, Refused::tracing);
  thread.error = trouble.detail;
  if (any_read) return false;
  process.trouble = trouble;
  return true;
}

bool is_zombie(ThreadCopy& thread) {
  if (thread.state != 'Z' && thread.state != 'X') return false;
  thread.error = "has ended (zombie); the process goes on without it";
  return true;
}

// The thread belongs to the target and not to a successor of its number: the directory cannot go away any more.
bool still_of(const Process& target, pid_t tid) {
  struct stat info {};
  return ::fstatat(target.proc_fd, ("task/" + std::to_string(tid)).c_str(), &info, 0) == 0;
}

// ---- one at a time
// ---------------------------------------------------------------------------------------------------

class OneByOne {
 public:
  OneByOne(const Process& target, const Options& options, Hold& hold, ProcessCopy& process, bool running_only = false)
      : target_(target),
        hold_(hold),
        process_(process),
        others_(target, hold),
        tasks_(open_threads(target.proc_fd)),
        limit_(stack_limit(options)),
        running_only_(running_only),
        interrupt_(options.interrupt),
        max_frames_(options.max_frames) {}

  Outcome run() {
    std::unordered_set<pid_t> seen;
    for (int pass = 0; pass < max_passes; ++pass) {
      const std::size_t first = process_.threads.size();
      if (add_new_threads(target_.proc_fd, process_.threads, seen) == 0) break;
      // Threads that sleep first: what runs is disturbed last, and as if nothing else happened.
      std::vector<std::size_t> to_stop;
      if (!running_only_ && !read_where_they_sleep(first, to_stop)) return Outcome::cancelled;
      for (std::size_t i = first; i < process_.threads.size(); ++i)
        if (process_.threads[i].running) to_stop.push_back(i);
      for (const std::size_t i : to_stop) {
        if (hold_.cancelled()) return Outcome::cancelled;
        copy(i);
        if (process_.trouble) return Outcome::refused;
        look_after_late();
      }
    }
    wait_for_late();
    // Who did not stop is shown as he sleeps, and says why not more.
    for (auto& [index, asleep] : asleep_) {
      ThreadCopy& thread = process_.threads[index];
      if (thread.registers) continue;
      std::swap(asleep.error, thread.error);
      thread = std::move(asleep);
    }
    return out_of_budget_ ? Outcome::out_of_budget : Outcome::complete;
  }

 private:
  struct Late {
    std::size_t index;
    Clock::time_point asked;
  };

  void copy(std::size_t index) {
    ThreadCopy& thread = process_.threads[index];
    if (late_.size() >= max_late && thread.state == 'D') {
      thread.error = "not stopped: state D, like many others";
      return;
    }
    if (is_zombie(thread)) return;
    process_.memory->warm(warm_bytes);
    const auto seize = [&] { return ::ptrace(PTRACE_SEIZE, thread.tid, 0, 0) == 0 ? 0 : errno; };
    int error = seize();
    while (error == EPERM && others_.may_let_go(thread.tid)) {
      look_after_late();
      error = seize();
    }
    if (error != 0) {
      refused(target_, error, process_, thread, any_read_);
      return;
    }
    if (!still_of(target_, thread.tid)) {
      thread.error = "ended before it could be read";
      return;
    }
    const auto limit = thread.state == 'D' ? Micros{uninterruptible_stop_limit} : Micros{stop_limit};
    hold_.begin();
    const auto begin = Clock::now();
    ::ptrace(PTRACE_INTERRUPT, thread.tid, 0, 0);
    int signal = 0;
    switch (wait_for_stop(thread.tid, signal, begin + std::min(limit, hold_.max_pause()))) {
      case Stop::stopped: take(thread, signal, begin); break;
      case Stop::gone: thread.error = "ended before it could be read"; break;
      case Stop::not_yet: late_.push_back({index, begin}); break;
    }
    hold_.end();
    if (thread.registers) thread.held = micros_since(begin);
    if (!late_.empty() && late_.back().index == index) thread.error = why_not_stopped(target_, thread);
  }

  // Reads the threads from `first` on that do not run without a stop, where that gives their whole stack or a stop would
  // end their call with EINTR. The others are to be stopped. False: cancelled.
  bool read_where_they_sleep(std::size_t first, std::vector<std::size_t>& to_stop) {
    std::vector<std::size_t> read, puzzling;
    for (std::size_t i = first; i < process_.threads.size(); ++i) {
      ThreadCopy& thread = process_.threads[i];
      if (hold_.cancelled()) return false;
      look_after_late();
      if (thread.running) continue;
      if (is_zombie(thread)) continue;
      if (refused_) {
        to_stop.push_back(i);
        continue;
      }
      Asleep answer = Asleep::awake;
      for (int attempt = 0; attempt < attempts && answer == Asleep::awake; ++attempt)
        answer = copy_sleeping(tasks_.get(), limit_, process_, thread);
      refused_ = answer == Asleep::refused;  // tracing may be allowed all the same
      if (answer == Asleep::read) {
        any_read_ = true;
        switch (follow(thread)) {
          case cache::Walked::whole: process_.memory->give_back(std::exchange(thread.stack, {})); break;
          case cache::Walked::unknown: puzzling.push_back(i); [[fallthrough]];
          default: read.push_back(i);
        }
      } else if (answer != Asleep::failed) {
        to_stop.push_back(i);
      }
    }
    // Not while one that was told to stop may do so: it would stand until all is learned.
    if (!puzzling.empty() && late_.empty() && !cache::learn_apart(process_, puzzling, max_frames_, hold_)) return false;
    for (const std::size_t i : read) {
      ThreadCopy& thread = process_.threads[i];
      if (follow(thread) == cache::Walked::whole) continue;
      if (!interrupt_ && stop_would_interrupt(target_, thread.tid)) {
        thread.spared = true;
        continue;
      }
      asleep_.emplace(i, thread);
      thread.registers.reset();
      thread.stack = {};
      thread.waiting_on.clear();
      to_stop.push_back(i);
    }
    return true;
  }

  // By the rules that are there; no file is parsed.
  cache::Walked follow(ThreadCopy& thread) {
    cache::Walk walked = cache::walk(*process_.tables, thread, max_frames_);
    if (walked.end == cache::Walked::whole) thread.walked = std::move(walked.stack);
    return walked.end;
  }

  // The thread stands still: copy it and let it go.
  void take(ThreadCopy& thread, int signal, Clock::time_point begin) {
    const auto deadline = begin + hold_.max_pause();
    bool in_time = Clock::now() < deadline;
    if (in_time && read_registers(thread)) {
      any_read_ = true;
      in_time = copy_stack(process_.mappings, limit_, *process_.memory, thread, deadline);
    }
    detach(thread.tid, signal);
    if (in_time) return;
    out_of_budget_ = true;
    if (!thread.registers) thread.error = "let go unread: stopping it alone took longer than max_pause allows";
  }

  // A thread that was asked to stop and had not may stop at any time later; then it must not be left standing.
  void look_after_late() {
    for (std::size_t i = 0; i < late_.size();) {
      ThreadCopy& thread = process_.threads[late_[i].index];
      int signal = 0;
      const Stop state = look(thread.tid, signal);
      if (state == Stop::not_yet) {
        ++i;
        continue;
      }
      if (state == Stop::stopped) {
        thread.error.clear();
        hold_.begin();
        const auto begin = Clock::now();
        take(thread, signal, begin);
        hold_.end();
        thread.held = micros_since(begin);
      }
      late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // Where every CPU is busy a thread stops when it is given one, which may be its whole share later. It is not held
  // meanwhile, so we have the time; not for one that nothing interrupts.
  void wait_for_late() {
    const auto deadline = Clock::now() + late_limit;
    look_after_late();
    const auto comes = [&](const Late& late) { return process_.threads[late.index].state != 'D'; };
    while (std::any_of(late_.begin(), late_.end(), comes) && Clock::now() < deadline && !hold_.cancelled()) {
      sigset_t child;
      sigemptyset(&child);
      sigaddset(&child, SIGCHLD);
      constexpr timespec slice{0, 1'000'000};
      ::sigtimedwait(&child, nullptr, &slice);
      look_after_late();
    }
  }

  const Process& target_;
  Hold& hold_;
  ProcessCopy& process_;
  OtherRuns others_;
  UniqueFd tasks_;
  std::size_t limit_;
  bool running_only_;
  std::vector<Late> late_;
  std::unordered_map<std::size_t, ThreadCopy> asleep_;  // of those that are to be stopped, what was read before
  bool any_read_ = false, out_of_budget_ = false, refused_ = false;
  bool interrupt_;
  unsigned max_frames_;
};

// ---- all together
// ----------------------------------------------------------------------------------------------------

class Together {
 public:
  Together(const Process& target, const Options& options, Hold& hold, ProcessCopy& process, const WhileStopped& besides)
      : target_(target),
        hold_(hold),
        process_(process),
        besides_(besides),
        others_(target, hold),
        limit_(stack_limit(options)) {}

  Outcome run() {
    while (tracer_of(target_, target_.pid).kind == Tracer::Kind::run && others_.may_let_go(target_.pid)) {
    }
    add_new_threads(target_.proc_fd, process_.threads, seen_);
    if (process_.native) process_.memory->warm(warm_bytes + process_.threads.size() * 4096);
    const Outcome outcome = stop_and_copy();
    release(true);
    release(false);
    if (begun_) hold_.end();
    // Nothing takes long from here to the end of this thread, which lets go of those that stop only now.
    if (outcome == Outcome::out_of_budget) {
      for (ThreadCopy& thread : process_.threads)
        if (process_.native && !thread.registers && thread.error.empty())
          thread.error = "let go unread: the pause budget (max_pause) was used up";
      return outcome;
    }
    for (const Held& held : held_) {
      ThreadCopy& thread = process_.threads[held.index];
      thread.did_not_stop = held.seized && !held.stopped;
      if (process_.native && held.stopped && !thread.registers && thread.error.empty())
        thread.error = "ended before it could be read";
    }
    return outcome;
  }

 private:
  struct Held {
    std::size_t index;
    bool seized = false, stopped = false, gone = false, others = false;
    int signal = 0;
    Clock::time_point asked{};
  };

  // When to begin with letting go, so that it is done in time.
  Clock::time_point deadline() const { return end_ - letting_go * asked_; }
  bool over() const { return begun_ && Clock::now() >= deadline(); }

  Outcome stop_and_copy() {
    // SEIZE stops nobody. With TRACECLONE a thread that a seized one starts from here on is ours from its first moment;
    // both stand from then on, so the budget begins here.
    if (const Outcome o = seize_new(); o != Outcome::complete) return o;
    std::size_t copied_blocked = 0;
    if (const Outcome o = stop_those(false); o != Outcome::complete) return o;
    if (const Outcome o = copy_those(false, copied_blocked); o != Outcome::complete) return o;
    for (int pass = 0; pass < max_passes; ++pass) {
      if (const Outcome o = stop_those(true); o != Outcome::complete) return o;
      const std::size_t added = add_new_threads(target_.proc_fd, process_.threads, seen_, deadline());
      if (over()) return Outcome::out_of_budget;
      if (added == 0) break;
      if (const Outcome o = seize_new(); o != Outcome::complete) return o;
      if (const Outcome o = stop_those(false); o != Outcome::complete) return o;
    }
    if (besides_ && !besides_(deadline())) return hold_.cancelled() ? Outcome::cancelled : Outcome::out_of_budget;
    std::size_t copied = 0;
    if (const Outcome o = copy_those(true, copied); o != Outcome::complete) return o;
    release(true);
    // Threads that came while the others were being stopped.
    return copy_those(false, copied_blocked);
  }

  Outcome seize_new() {
    const std::size_t first = held_.size();
    bool again = false;  // for those that others hold
    for (std::size_t i = first; i < process_.threads.size(); ++i) {
      if (over()) return Outcome::out_of_budget;
      Held& held = held_.emplace_back(Held{i});
      if (is_zombie(process_.threads[i])) continue;
      int error = seize(held);
      // As long as we hold nobody there is time.
      while (error == EPERM && !begun_ && others_.may_let_go(process_.threads[i].tid)) error = seize(held);
      held.others = error == EPERM && begun_;
      again |= held.others;
      if (error != 0 && !held.others && refused(target_, error, process_, process_.threads[i], begun_))
        return Outcome::refused;
    }
    for (const auto end = Clock::now() + other_copy_limit; again && Clock::now() < end;) {
      if (over()) return Outcome::out_of_budget;
      std::this_thread::sleep_for(50us);
      again = false;
      for (std::size_t i = first; i < held_.size(); ++i) {
        if (!held_[i].others || over()) continue;
        held_[i].others = seize(held_[i]) == EPERM;
        again |= held_[i].others;
      }
    }
    for (std::size_t i = first; i < held_.size(); ++i) {
      if (over()) return Outcome::out_of_budget;
      if (held_[i].others) refused(target_, EPERM, process_, process_.threads[held_[i].index], begun_);
    }
    return Outcome::complete;
  }

  // 0, or what SEIZE said.
  int seize(Held& held) {
    ThreadCopy& thread = process_.threads[held.index];
    const auto begin = Clock::now();
    if (::ptrace(PTRACE_SEIZE, thread.tid, 0, PTRACE_O_TRACECLONE) == 0) {
      held.seized = still_of(target_, thread.tid);
      if (!held.seized) thread.error = "ended before it could be read";
      if (!begun_) {
        hold_.begin();
        begin_ = begin;
        end_ = begin + hold_.max_pause();
        begun_ = true;
      }
      return 0;
    }
    const int error = errno;
    // EPERM for one that TRACECLONE gave us: waitpid knows it.
    int signal = 0;
    const Stop state = error == EPERM ? look(thread.tid, signal) : Stop::gone;
    if (state == Stop::gone) return error;
    held.seized = true;
    held.stopped = state == Stop::stopped;
    held.signal = signal;
    held.asked = Clock::now();
    ++asked_;
    return 0;
  }

  Outcome stop_those(bool running) {
    for (Held& held : held_) {
      if (!held.seized || held.stopped || held.gone || process_.threads[held.index].running != running) continue;
      if (held.asked == Clock::time_point{}) {
        if (over()) return Outcome::out_of_budget;
        held.asked = Clock::now();
        ++asked_;
        ::ptrace(PTRACE_INTERRUPT, process_.threads[held.index].tid, 0, 0);
      }
    }
    if (hold_.cancelled()) return Outcome::cancelled;
    for (Held& held : held_) {
      ThreadCopy& thread = process_.threads[held.index];
      if (!held.seized || held.stopped || held.gone || thread.running != running) continue;
      const auto limit = thread.state == 'D' ? uninterruptible_stop_limit : stop_limit;
      const Stop state = wait_for_stop(thread.tid, held.signal, std::min(deadline(), Clock::now() + limit));
      held.stopped = state == Stop::stopped;
      held.gone = state == Stop::gone;
      if (held.gone) thread.error = "ended before it could be read";
      if (over()) return Outcome::out_of_budget;
    }
    return Outcome::complete;
  }

  Outcome copy_those(bool running, std::size_t& from) {
    if (!process_.native) return Outcome::complete;
    for (; from < held_.size(); ++from) {
      Held& held = held_[from];
      ThreadCopy& thread = process_.threads[held.index];
      if (!held.stopped || thread.registers || thread.running != running) continue;
      if (over()) return Outcome::out_of_budget;
      if (read_registers(thread) && !copy_stack(process_.mappings, limit_, *process_.memory, thread, deadline()))
        return Outcome::out_of_budget;
    }
    return Outcome::complete;
  }

  void release(bool running) {
    for (Held& held : held_) {
      ThreadCopy& thread = process_.threads[held.index];
      if (!held.seized || held.gone || thread.running != running) continue;
      // One that had not stopped when it was waited for may have since.
      if (!held.stopped && look(thread.tid, held.signal) != Stop::stopped) continue;
      detach(thread.tid, held.signal);
      thread.held = micros_since(held.asked == Clock::time_point{} ? begin_ : held.asked);
      held.stopped = true;
      held.gone = true;
    }
  }

  const Process& target_;
  Hold& hold_;
  ProcessCopy& process_;
  const WhileStopped& besides_;
  OtherRuns others_;
  std::size_t limit_;
  std::unordered_set<pid_t> seen_;
  std::vector<Held> held_;
  Clock::time_point begin_, end_;
  int asked_ = 0;       // to stop
  bool begun_ = false;  // some are held, or may be at any time
};

}  // namespace

Outcome copy_one_by_one(const Process& target, const Options& options, Hold& hold, ProcessCopy& process) {
  ::prctl(PR_SET_TIMERSLACK, 1000);  // of this thread: short naps stay short
  return OneByOne{target, options, hold, process}.run();
}

Outcome copy_running(const Process& target, const Options& options, Hold& hold, ProcessCopy& process) {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  return OneByOne{target, options, hold, process, true}.run();
}

Outcome copy_together(const Process& target, const Options& options, Hold& hold, ProcessCopy& process,
                      const WhileStopped& besides) {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  return Together{target, options, hold, process, besides}.run();
}

void explain_unstopped(const Process& target, ProcessCopy& process) {
  for (ThreadCopy& thread : process.threads)
    if (thread.did_not_stop && thread.error.empty()) thread.error = why_not_stopped(target, thread);
}

}  // namespace stack
