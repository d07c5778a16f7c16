#include "targets/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>

#include "targets/proc.hpp"

namespace hatchd::targets {

std::optional<Process> Process::open(pid_t pid, std::uint64_t started_ticks) {
  Process process;
  process.pid_ = pid;
  // The order matters: a read through the directory that succeeds after the pidfd was opened shows that the directory's
  // process was not reaped in between, so the number meant the same process both times.
  const std::string path = "/proc/" + std::to_string(pid);
  process.directory_ = UniqueFd{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!process.directory_) {
    if (errno == ENOENT) errno = ESRCH;
    return std::nullopt;
  }
  process.pidfd_ = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0u))};
  if (!process.pidfd_) {
    // A thread that leads no process: EINVAL, since Linux 6.9 ENOENT.
    if (errno == EINVAL || errno == ENOENT) errno = ESRCH;
    return std::nullopt;
  }
  const auto stat = read_stat(process.directory_.get());
  if (!stat || !process.alive() || (started_ticks != 0 && stat->started_ticks != started_ticks)) {
    errno = ESRCH;
    return std::nullopt;
  }
  process.started_ticks_ = stat->started_ticks;
  process.started_ = rfc3339(wall_time(stat->started_ticks));
  return process;
}

bool Process::alive() const {
  pollfd entry{pidfd_.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) == 0;  // readable once the last thread has ended (pidfd_open(2))
}

}  // namespace hatchd::targets
