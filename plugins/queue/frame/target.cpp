#include "queue/frame/target.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace queue {

std::vector<TargetProcess> target_processes(const hatch::Run& run) {
  std::vector<TargetProcess> all;
  for (const hatch_process& process : run.processes()) {
    TargetProcess one;
    one.pid = process.pid;
    one.inner_pids.push_back(process.pid);
    if (const int fd = ::openat(process.proc_fd, "status", O_RDONLY | O_CLOEXEC); fd >= 0) {
      char buffer[8192];
      const ssize_t n = ::read(fd, buffer, sizeof buffer);
      ::close(fd);
      const std::string_view text(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
      if (const std::size_t at = text.find("\nState:\t"); at != text.npos && at + 8 < text.size())
        one.state = text[at + 8];
      if (const std::size_t at = text.find("\nNSpid:"); at != text.npos) {
        const std::string_view line = text.substr(at + 7, text.find('\n', at + 7) - at - 7);
        for (std::size_t from = 0; (from = line.find_first_of("0123456789", from)) != line.npos;) {
          int pid = 0;
          const char* end = std::from_chars(line.data() + from, line.data() + line.size(), pid).ptr;
          one.inner_pids.push_back(pid);
          from = static_cast<std::size_t>(end - line.data());
        }
      }
    }
    all.push_back(std::move(one));
  }
  return all;
}

const TargetProcess* find_process(const std::vector<TargetProcess>& processes, long long pid) {
  for (const TargetProcess& process : processes)
    if (std::find(process.inner_pids.begin(), process.inner_pids.end(), pid) != process.inner_pids.end())
      return &process;
  return nullptr;
}

}  // namespace queue
