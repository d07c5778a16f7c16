// What the answer shows of each process: its native threads, its runtime's, or both as one.
#pragma once

#include "stack/model.hpp"
#include "stack/runtime.hpp"

namespace stack {

// Texts are the copies' and the digest's, which must outlive it.
struct ShownThread {
  pid_t tid = 0;        // 0: no thread of the kernel, or not known which
  std::string_view id;  // the runtime's own; empty where that is the tid
  std::string_view name;
  std::string state;    // the runtime's word, else the letter of proc(5)
  bool native = false;  // it is shown as the kernel sees it, but for the frames
  bool running = false;
  std::string_view waiting_on;
  bool truncated = false;
  std::string error;
  bool read = false;                      // there is a stack, or it is known that there is none
  bool wants_stop = false;                // the rest takes registers that only a stop would show
  std::span<const std::uint32_t> frames;  // into ShownProcess::frames, innermost first
  const RuntimeThread* runtime = nullptr;
};

struct ShownProcess {
  pid_t pid = 0;
  std::string_view name;
  std::string runtime, mode;
  Micros paused{0};
  std::optional<Trouble> trouble;  // nothing of it was read
  std::string note;                // something is missing, and why
  std::span<const Frame> frames;
  std::vector<ShownThread> threads;
  const ProcessCopy* copy = nullptr;
  const RuntimeStacks* stacks = nullptr;

  // What the spans point into where it is neither the copy's nor the runtime's.
  std::vector<Frame> both_frames;
  std::deque<std::vector<std::uint32_t>> merged;
};

std::deque<ShownProcess> merge(const Gathered& gathered, const Digest& digest);

// Which threads of a process are shown as one, in the order of their first: each alone, unless equal stacks are grouped.
std::vector<std::vector<std::size_t>> group_threads(const ShownProcess& process, bool group);

}  // namespace stack
