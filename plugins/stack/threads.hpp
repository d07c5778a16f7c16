// The threads of a process, as /proc lists them.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "stack/model.hpp"

namespace stack {

constexpr std::size_t max_threads = 20'000;  // of one process; the rest is counted out loud

// The directory of its threads, where what is read of each is a shorter way than from the process's own.
UniqueFd open_threads(int proc_fd);

// Thread numbers in /proc's order, at most max_threads.
std::vector<pid_t> list_threads(int proc_fd);

// Adds to `threads` those that are new, with name and state. Returns how many it added. `seen` keeps the numbers.
std::size_t add_new_threads(int proc_fd, std::vector<ThreadCopy>& threads, std::unordered_set<pid_t>& seen,
                            Clock::time_point deadline = Clock::time_point::max());

// A thread as its runtime may number it.
struct KernelThread {
  pid_t tid = 0;  // in hatchd's pid namespace
  bool running = false;
};
// By the number that each has in the innermost pid namespace, its process's own (NSpid, proc(5)).
using KernelThreads = std::unordered_map<pid_t, KernelThread>;
// Those of `asleep` are known not to run, which saves asking.
KernelThreads threads_by_own_number(int proc_fd, const std::unordered_set<pid_t>& asleep = {});

}  // namespace stack
