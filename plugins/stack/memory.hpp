// Copying stacks out of the target.
//
// The bytes go into chunks that only grow, so a copy never moves and costs what it holds. Fresh memory is faulted in
// before a thread is stopped, not while: a page fault costs as much as copying the page.
#pragma once

#include "stack/model.hpp"

namespace stack {

class StackMemory {
 public:
  // All copies of one dump together; beyond it stacks are cut short.
  static constexpr std::size_t total_limit = std::size_t{512} << 20;

  StackMemory() = default;
  StackMemory(const StackMemory&) = delete;
  ~StackMemory();

  // Makes the next `bytes` cheap to write.
  void warm(std::size_t bytes);
  // Room for `bytes` in one piece; empty when the limit is reached. Only what keep() names stays taken.
  std::span<std::byte> room(std::size_t bytes);
  std::span<const std::byte> keep(std::span<std::byte> room, std::size_t used);
  // Takes back what was kept last; of anything else nothing.
  void give_back(std::span<const std::byte> kept);

 private:
  struct Chunk {
    std::byte* begin;
    std::size_t size;
  };
  std::vector<Chunk> chunks_;
  std::size_t at_ = 0;      // in the last chunk
  std::size_t last_ = 0;    // where what was kept last begins in it
  std::size_t warmed_ = 0;  // in the last chunk
  std::size_t total_ = 0;
};

// process_vm_readv(2) from the thread's memory. Fewer bytes than asked for: the page behind them cannot be read.
std::size_t read_memory(pid_t tid, std::uint64_t from, std::span<std::byte> into);

// Where the copy of a stack that begins at `sp` ends: the mapping's end, or the thread's control block, which glibc
// puts at the top of each stack that it makes. 0: `sp` lies in no mapping that was there when the maps were read.
std::uint64_t stack_end(const std::vector<Mapping>& mappings, const Registers& registers);

// How much of a stack is copied at most.
std::size_t stack_limit(const Options& options);

// Copies registers.sp() minus the red zone to the stack's end into thread.stack, in steps between which `deadline` is
// looked at. False: the deadline came first, and what was copied is kept.
bool copy_stack(const std::vector<Mapping>& mappings, std::size_t limit, StackMemory& memory, ThreadCopy& thread,
                Clock::time_point deadline);

}  // namespace stack
