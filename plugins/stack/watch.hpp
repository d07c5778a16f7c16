// Copying threads that nobody stops.
//
// A thread that sleeps in a system call has its stack pointer and program counter in /proc/PID/task/TID/syscall, and
// its stack lies still as long as it sleeps. Whether it slept all the while is proved afterwards: the kernel counts how
// often each thread was given a CPU, and the count has not changed.
#pragma once

#include "stack/model.hpp"

namespace stack {

// False: cancelled. A thread that was not read says why in its `error`.
bool copy_unstopped(const Process& target, const Options& options, Hold& hold, ProcessCopy& process);

}  // namespace stack
