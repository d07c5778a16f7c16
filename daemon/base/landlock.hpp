// A fence around the files that a process may reach (landlock(7)). It also keeps the process from looking into any that
// is outside the fence: ptrace(2), process_vm_readv(2) and /proc/PID/mem, environ, root, whatever its user id. That is
// what a system-call filter cannot do, and why the front has one: of the same user as the target, it could otherwise
// write into its memory. For the same reason it is nothing for a process whose work is to look into others.
#pragma once

#include <span>

#include "base/problem.hpp"

namespace hatchd::landlock {

// From here on this thread, and every thread and process that it starts, reads, makes, changes and removes files below
// the folders `own` (open descriptors), reads below the folders `readable` (paths; one that does not exist is left out),
// and opens nothing else, nor starts a program. What is open already stays usable. Needs no-new-privileges. False where
// the kernel has no Landlock, or one that knows no renaming between folders (before 5.19): nothing has changed then.
Result<bool> confine(std::span<const int> own, std::span<const char* const> readable);

// The part of the fence that keeps this thread, and what it starts from here on, from looking into others; files stay
// as they are, but for device nodes and renaming between folders. Needs no-new-privileges. False where it is not to be
// had.
bool look_into_nobody();

}  // namespace hatchd::landlock
