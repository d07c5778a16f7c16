// What a stop does to a system call.
//
// Most calls that a stop interrupts are begun anew by the kernel, and the program never knows. Some end with EINTR
// instead, though no signal came: signal(7), "Interruption of system calls and library functions by stop signals".
#pragma once

#include "stack/model.hpp"

namespace stack {

// Whether the thread sleeps in such a call now. A socket's time limits decide for its calls; where they cannot be asked
// (pidfd_getfd(2)) they are taken to be set.
bool stop_would_interrupt(const Process& target, pid_t tid);

}  // namespace stack
