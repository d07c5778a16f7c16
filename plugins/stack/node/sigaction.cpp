#include "stack/node/sigaction.hpp"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "stack/memory.hpp"
#include "stack/refusal.hpp"
#include "stack/threads.hpp"

namespace stack::node {
namespace {

#if defined(__x86_64__)

using namespace std::chrono_literals;

constexpr auto stop_limit = 20ms;

// Until `tid` stops; false: it has not, or is gone.
bool wait_for_stop(pid_t tid, int& status) {
  const auto deadline = Clock::now() + stop_limit;
  for (;;) {
    const pid_t answer = ::waitpid(tid, &status, __WALL | __WNOTHREAD | WNOHANG);
    if (answer == tid) return WIFSTOPPED(status);
    if ((answer < 0 && errno != EINTR) || Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(20us);
  }
}

// The kernel's struct sigaction (rt_sigaction(2)), which is not the C library's.
struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};

// `tid` stands still in a call. The kernel looks at what is in the registers when it goes on: so the call is made from
// them, one step is taken, and the old ones, put back, make the kernel begin the interrupted call anew.
std::optional<SignalAction> ask_stopped(pid_t tid, int signal, int& pass_on) {
  user_regs_struct saved{};
  iovec into{&saved, sizeof saved};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &into) < 0) return std::nullopt;
  std::array<unsigned char, 2> code{};
  constexpr std::array<unsigned char, 2> syscall_instruction = {0x0F, 0x05};
  if (saved.orig_rax != SYS_futex ||
      read_memory(tid, saved.rip - 2, std::as_writable_bytes(std::span{code})) != code.size() ||
      code != syscall_instruction)
    return std::nullopt;

  user_regs_struct asking = saved;
  const std::uint64_t answer = (saved.rsp - 1024) & ~std::uint64_t{15};  // below the red zone: nobody's
  asking.rip = saved.rip - 2;
  asking.orig_rax = no_system_call;  // nothing to begin anew
  asking.rax = SYS_rt_sigaction;
  asking.rdi = static_cast<std::uint64_t>(signal);
  asking.rsi = 0;
  asking.rdx = answer;
  asking.r10 = 8;  // the size of the kernel's signal set
  iovec out{&asking, sizeof asking};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &out) < 0) return std::nullopt;
  int status = 0;
  const bool stepped = ::ptrace(PTRACE_SINGLESTEP, tid, 0, 0) == 0 && wait_for_stop(tid, status);
  std::optional<SignalAction> action;
  if (stepped && WSTOPSIG(status) == SIGTRAP) {
    user_regs_struct after{};
    iovec result{&after, sizeof after};
    KernelAction found{};
    if (::ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &result) == 0 && after.rax == 0 &&
        read_memory(tid, answer, std::as_writable_bytes(std::span{&found, 1})) == sizeof found)
      action = SignalAction{found.handler, found.flags};
  } else if (stepped && status >> 16 == 0) {
    pass_on = WSTOPSIG(status);  // another signal came first, and is not lost
  }
  iovec back{&saved, sizeof saved};
  ::ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &back);
  return action;
}

// On a thread of its own, whose end lets go of what it traces (stop.hpp).
std::optional<SignalAction> ask(const Process& process, int signal, Hold& hold, std::string& why) {
  constexpr std::size_t max_tries = 4;
  std::size_t tries = 0;
  why = "no thread of it sleeps where it can be asked; try again";
  for (const pid_t tid : list_threads(process.proc_fd)) {
    // Not the main thread: it is the one that works.
    if (tid == process.pid || tries == max_tries) continue;
    const auto call = read_below(process.proc_fd, "task/" + std::to_string(tid) + "/syscall", 512);
    if (!call || !call->starts_with(std::to_string(SYS_futex) + " ")) continue;
    ++tries;
    if (::ptrace(PTRACE_SEIZE, tid, 0, 0) < 0) {
      if (errno == ESRCH) continue;
      why = explain_refusal(process, tid, Refused::tracing).detail;
      return std::nullopt;
    }
    hold.begin();
    ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
    int status = 0, pass_on = 0;
    std::optional<SignalAction> action;
    if (wait_for_stop(tid, status)) {
      // A target that SIGSTOP holds is left alone: a step would make it run.
      if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP)
        action = ask_stopped(tid, signal, pass_on);
      else if (status >> 16 == 0)
        pass_on = WSTOPSIG(status);
      ::ptrace(PTRACE_DETACH, tid, 0, pass_on);
    }
    hold.end();
    if (action) return action;
  }
  return std::nullopt;
}

#endif

}  // namespace

std::optional<SignalAction> ask_signal_action(const Process& process, int signal, Hold& hold, std::string& why) {
#if defined(__x86_64__)
  std::optional<SignalAction> action;
  std::thread([&] { action = ask(process, signal, hold, why); }).join();
  return action;
#else
  why = "on this processor hatchd cannot ask whose handler it is";
  return std::nullopt;
#endif
}

}  // namespace stack::node
