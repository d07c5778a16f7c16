// After a fork parent and child share their memory until one of them writes to it, a page fault for each page. A plugin
// process and its runs write to the same few dozen pages at once, so each takes its own copies in one go instead: a
// fraction of the time, above all in virtual machines, where a page fault may take tens of microseconds. Code is not even
// shared: the child finds it page by page in the files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hatchd::worker {

class Pages {
 public:
  struct Range {
    std::uintptr_t begin = 0, end = 0;
  };

  static constexpr std::size_t max_mapping = 1024 * 1024;    // larger ones are left to faults, page by page
  static constexpr std::size_t max_code = 16 * 1024 * 1024;  // the like for code
  static constexpr std::size_t room = 768 * 1024;            // of the heap, beyond what there is
  static constexpr std::size_t stack = 32 * 1024;  // below the caller of own(); most of a stack is never used again

  // The mappings that this process has now: data of its libraries, heap, stack, and code.
  Pages();

  // Makes what there is in them this process's own, as a write to each page would: madvise(2), MADV_POPULATE_WRITE, since
  // Linux 5.14. Where the kernel does not know it, nothing happens, and faults do the same later.
  void own() const;

  // Maps the program and its libraries: each piece of 64 KiB would take a fault when it is first run. MADV_POPULATE_READ.
  void map_code() const;

  // Reads a byte of each page of it all: where a hypervisor has page tables of its own (shadow paging), a page that the
  // kernel has mapped is still slow when it is first used. There it takes some milliseconds of a CPU that has
  // nothing else to do; elsewhere next to none.
  void touch() const;

  // Has the heap grow by as much as most runs take, with malloc's free blocks and not with its top, which it would give
  // back. To be called before own().
  static void make_room();

 private:
  // Heap and stack as they are now, the stack from a bit below the caller on.
  Range heap() const;
  Range stack_in_use() const;

  std::vector<Range> ranges_, code_;
  Range heap_, stack_;
};

}  // namespace hatchd::worker
