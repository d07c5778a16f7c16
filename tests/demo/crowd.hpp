// Many blocked threads with deep stacks, for tests and benchmarks: `threads` of them, each `depth` frames deep, a
// quarter each in futex, read, poll and epoll_wait. Those in epoll_wait count how often a stop from outside made it
// return EINTR.
#pragma once

#include <cstdint>

namespace demo {

// Returns when all of them are on the last step to where they block. They stay until the process ends.
void gather_crowd(unsigned threads, unsigned depth);
std::uint64_t interrupted_waits(bool reset);

}  // namespace demo
