// What HotSpot's thread dump says, JDK 8 to 25, as threads, locks and owners.
//
// Thread names stand in it unescaped, quotes and line breaks included, so nothing is believed for how a line begins.
// Since JDK 10 the dump starts with the addresses of the VM's thread objects, which no code of the target knows: a
// header is one when its tid= is among them. What a name imitates stays part of that name.
#pragma once

#include <unordered_set>

#include "stack/runtime.hpp"
#include "stack/threads.hpp"

namespace stack::jvm {

// `kernel`: the threads by nid=, which is their number in the VM's own pid namespace.
// Adds to `stacks` its runtime, frames, threads and members.
void parse_thread_dump(std::string_view text, const KernelThreads& kernel, unsigned max_frames, RuntimeStacks& stacks);

// The nid= of those that the VM says to wait or to be blocked, by headers that no name can imitate; none of a VM before
// JDK 10.
std::unordered_set<pid_t> waiting_threads(std::string_view text);

}  // namespace stack::jvm
