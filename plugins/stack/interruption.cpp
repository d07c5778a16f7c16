#include "stack/interruption.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <iterator>

#include "stack/watch.hpp"

namespace stack {
namespace {

// End with EINTR at any stop: signal(7), io_getevents(2), io_uring_enter(2).
constexpr std::uint64_t always[] = {
#if defined(__x86_64__)
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait,     SYS_epoll_pwait2, SYS_semop,          SYS_semtimedop,
    SYS_rt_sigtimedwait, SYS_io_getevents, SYS_io_uring_enter,
};
// At a stop while the socket has SO_RCVTIMEO or SO_SNDTIMEO.
constexpr std::uint64_t on_sockets[] = {
    SYS_accept, SYS_accept4, SYS_connect, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_read,
    SYS_readv,  SYS_sendto,  SYS_sendmsg, SYS_sendmmsg, SYS_write,   SYS_writev,
};

bool has_time_limit(const Process& target, pid_t tid, std::uint64_t descriptor) {
  char link[64];
  const std::string path = "task/" + std::to_string(tid) + "/fd/" + std::to_string(descriptor);
  const ssize_t n = ::readlinkat(target.proc_fd, path.c_str(), link, sizeof link);
  if (n > 0 && !std::string_view{link, static_cast<std::size_t>(n)}.starts_with("socket:")) return false;
  const UniqueFd copy{static_cast<int>(::syscall(SYS_pidfd_getfd, target.pidfd, static_cast<int>(descriptor), 0))};
  if (!copy) return true;
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    timeval limit{};
    socklen_t size = sizeof limit;
    if (::getsockopt(copy.get(), SOL_SOCKET, option, &limit, &size) < 0 || limit.tv_sec || limit.tv_usec) return true;
  }
  return false;
}

}  // namespace

bool stop_would_interrupt(const Process& target, pid_t tid) {
  const auto text = read_record(target.proc_fd, "task/" + std::to_string(tid) + "/syscall");
  const auto call = text ? parse_system_call(*text) : std::nullopt;
  if (!call) return false;  // it runs, or may not be asked
  if (std::find(std::begin(always), std::end(always), call->number) != std::end(always)) return true;
  if (std::find(std::begin(on_sockets), std::end(on_sockets), call->number) == std::end(on_sockets)) return false;
  // recvmmsg(2) has a time limit of its own.
  if (call->number == SYS_recvmmsg && call->arguments[4] != 0) return true;
  return has_time_limit(target, tid, call->arguments[0]);
}

}  // namespace stack
