#include "stack/threads.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace stack {

UniqueFd open_threads(int proc_fd) { return UniqueFd{::openat(proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; }

std::vector<pid_t> list_threads(int proc_fd) {
  std::vector<pid_t> all;
  UniqueFd tasks = open_threads(proc_fd);
  DIR* const directory = tasks ? ::fdopendir(tasks.get()) : nullptr;
  if (!directory) return all;
  tasks.release();
  while (const dirent* entry = ::readdir(directory)) {
    pid_t tid = 0;
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, tid).ptr == end && all.size() < max_threads) all.push_back(tid);
  }
  ::closedir(directory);
  return all;
}

std::size_t add_new_threads(int proc_fd, std::vector<ThreadCopy>& threads, std::unordered_set<pid_t>& seen,
                            Clock::time_point deadline) {
  std::size_t added = 0;
  const UniqueFd tasks = open_threads(proc_fd);
  const std::vector<pid_t> listed = list_threads(proc_fd);
  threads.reserve(threads.size() + listed.size() - std::min(listed.size(), seen.size()));
  for (const pid_t tid : listed) {
    if (seen.size() >= max_threads || !seen.insert(tid).second) continue;
    if (deadline != Clock::time_point::max() && Clock::now() >= deadline) break;
    const auto text = read_record(tasks.get(), std::to_string(tid) + "/stat");
    auto stat = text ? parse_stat(*text) : std::nullopt;
    if (!stat) continue;  // it ended since it was listed
    ThreadCopy& thread = threads.emplace_back();
    thread.tid = tid;
    thread.name = std::move(stat->name);
    thread.state = stat->state;
    thread.running = stat->state == 'R';
    ++added;
  }
  return added;
}

KernelThreads threads_by_own_number(int proc_fd, const std::unordered_set<pid_t>& asleep) {
  KernelThreads all;
  const auto own = read_below(proc_fd, "status", 16 * 1024);
  const bool one_namespace = own && status_value(*own, "NSpid").find_first_of(" \t") == std::string_view::npos;
  const UniqueFd tasks = open_threads(proc_fd);
  for (const pid_t tid : list_threads(proc_fd)) {
    const std::string folder = std::to_string(tid) + "/";
    pid_t number = tid;
    if (!one_namespace) {
      const auto status = read_below(tasks.get(), folder + "status", 16 * 1024);
      number = status ? own_number(*status) : 0;
    }
    if (number <= 0) continue;
    if (asleep.contains(number)) {
      all[number] = {tid, false};
      continue;
    }
    const auto text = read_record(tasks.get(), folder + "stat");
    if (const auto stat = text ? parse_stat(*text) : std::nullopt) all[number] = {tid, stat->state == 'R'};
  }
  return all;
}

}  // namespace stack
