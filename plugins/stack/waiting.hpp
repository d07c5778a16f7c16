// In words, what a blocked thread waits for.
#pragma once

#include <cstdint>
#include <string>

namespace stack {

// The name of a system call that may block ("futex", "epoll_wait"), "system call 1234" for others.
std::string system_call_name(std::uint64_t number);

// From the kernel function that a thread sleeps in (/proc/PID/task/TID/wchan); empty when it says nothing.
std::string kernel_wait_name(const std::string& wchan);

}  // namespace stack
