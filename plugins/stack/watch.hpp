// Copying threads that nobody stops.
//
// A thread that sleeps in a system call has its stack pointer and program counter in /proc/PID/task/TID/syscall, and
// its stack lies still as long as it sleeps. Whether it slept all the while is proved afterwards: the kernel counts how
// often each thread was given a CPU, and the count has not changed.
#pragma once

#include <array>

#include "stack/model.hpp"

namespace stack {

// The text of /proc/PID/task/TID/syscall (proc(5)): number, six arguments, stack pointer, program counter; or
// "-1 sp pc" outside of a call; or "running", which is nullopt.
struct SystemCall {
  std::uint64_t number = no_system_call, sp = 0, pc = 0;
  std::array<std::uint64_t, 6> arguments{};
};
std::optional<SystemCall> parse_system_call(std::string_view text);

enum class Asleep {
  read,
  awake,    // it ran meanwhile
  failed,   // thread.error says why
  refused,  // we may not look
};
// One thread. `tasks`: /proc/PID/task. `limit`: how much of its stack at most.
Asleep copy_sleeping(int tasks, std::size_t limit, ProcessCopy& process, ThreadCopy& thread);

// False: cancelled. A thread that was not read says why in its `error`.
bool copy_unstopped(const Process& target, const Options& options, Hold& hold, ProcessCopy& process);

}  // namespace stack
