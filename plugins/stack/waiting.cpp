#include "stack/waiting.hpp"

#include <sys/syscall.h>

#include <iterator>
#include <string_view>

namespace stack {
namespace {

struct Call {
  std::uint64_t number;
  const char* name;
};

// Calls that can sleep, signal(7) and the manual pages of section 2.
#define CALL(name) \
  { SYS_##name, #name }
constexpr Call calls[] = {
#if defined(__x86_64__)
    CALL(epoll_wait),
    CALL(poll),
    CALL(select),
    CALL(pause),
    CALL(open),
    CALL(futex_waitv),
    CALL(vfork),
    CALL(fork),
    CALL(sendfile),
#endif
    CALL(read),
    CALL(write),
    CALL(readv),
    CALL(writev),
    CALL(pread64),
    CALL(pwrite64),
    CALL(futex),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL(ppoll),
    CALL(pselect6),
    CALL(nanosleep),
    CALL(clock_nanosleep),
    CALL(rt_sigtimedwait),
    CALL(rt_sigsuspend),
    CALL(wait4),
    CALL(waitid),
    CALL(accept),
    CALL(accept4),
    CALL(connect),
    CALL(recvfrom),
    CALL(recvmsg),
    CALL(recvmmsg),
    CALL(sendto),
    CALL(sendmsg),
    CALL(sendmmsg),
    CALL(semop),
    CALL(semtimedop),
    CALL(msgrcv),
    CALL(msgsnd),
    CALL(mq_timedreceive),
    CALL(mq_timedsend),
    CALL(io_getevents),
    CALL(io_uring_enter),
    CALL(flock),
    CALL(fcntl),
    CALL(fsync),
    CALL(fdatasync),
    CALL(openat),
    CALL(ioctl),
    CALL(splice),
    CALL(tee),
    CALL(copy_file_range),
    CALL(clone),
    CALL(clone3),
    CALL(execve),
    CALL(exit),
    CALL(exit_group),
    CALL(munmap),
    CALL(mmap),
    CALL(madvise),
    CALL(sched_yield),
    CALL(restart_syscall),
    CALL(ptrace),
    CALL(membarrier),
};
#undef CALL

struct Kernel {
  std::string_view prefix;
  const char* name;
};
constexpr Kernel kernel_functions[] = {
    {"futex_", "futex"},
    {"ep_poll", "epoll_wait"},
    {"do_epoll_wait", "epoll_wait"},
    {"poll_schedule", "poll"},
    {"do_poll", "poll"},
    {"do_select", "select"},
    {"pipe_read", "read"},
    {"anon_pipe_read", "read"},
    {"eventfd_read", "read"},
    {"n_tty_read", "read"},
    {"pipe_write", "write"},
    {"anon_pipe_write", "write"},
    {"hrtimer_nanosleep", "clock_nanosleep"},
    {"do_nanosleep", "clock_nanosleep"},
    {"do_sigtimedwait", "rt_sigtimedwait"},
    {"sigsuspend", "rt_sigsuspend"},
    {"do_wait", "wait4"},
    {"inet_csk_accept", "accept"},
    {"unix_stream_read", "recvmsg"},
    {"sk_wait_data", "recvfrom"},
    {"kernel_clone", "vfork"},
    {"do_semtimedop", "semop"},
};

}  // namespace

std::string system_call_name(std::uint64_t number) {
  for (const Call& call : calls)
    if (call.number == number) return call.name;
  return "system call " + std::to_string(number);
}

std::string kernel_wait_name(const std::string& wchan) {
  if (wchan.empty() || wchan == "0") return {};
  for (const Kernel& function : kernel_functions)
    if (wchan.starts_with(function.prefix)) return function.name;
  return wchan;
}

}  // namespace stack
