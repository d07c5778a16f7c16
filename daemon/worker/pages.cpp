#include "worker/pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

namespace hatchd::worker {

namespace {

#ifndef MADV_POPULATE_WRITE  // linux/mman.h; glibc 2.35 names both
constexpr int MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
#endif

constexpr std::uintptr_t page = 4096;  // a smaller one than the machine's does no harm: madvise(2) refuses it

// The addresses came from the kernel, as numbers.
int populate(const Pages::Range& range, int how) {
  return range.begin >= range.end
             ? 0
             : ::madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin, how);  // NOLINT
}

// A byte of each page. Unknown to AddressSanitizer, since that guards much of what lies there.
__attribute__((no_sanitize("address"))) void read_each(const Pages::Range& range) {
  // What was there when the mappings were listed may be gone; then the kernel says so (ENOMEM).
  if (range.begin >= range.end || populate(range, MADV_POPULATE_READ) != 0) return;
  for (std::uintptr_t at = range.begin; at < range.end; at += page)
    (void)*reinterpret_cast<const volatile char*>(at);  // NOLINT
}

}  // namespace

Pages::Pages() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    // proc_pid_maps(5): begin-end rwxp …
    Range range;
    char written[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &range.begin, &range.end, written) != 3) continue;
    const std::string_view rights = written;
    const bool is_file = line.find(" /") != std::string::npos;
    if (is_file && (rights == "r-xp" || rights == "r--p")) {
      if (range.end - range.begin > max_code) continue;
      if (!code_.empty() && code_.back().end == range.begin)
        code_.back().end = range.end;
      else
        code_.push_back(range);
    }
    if (rights != "rw-p") continue;
    if (line.ends_with("[heap]"))
      heap_ = range;
    else if (line.ends_with("[stack]"))
      stack_ = range;
    else if (range.end - range.begin <= max_mapping)
      ranges_.push_back(range);
  }
}

Pages::Range Pages::heap() const {
  if (heap_.begin == 0) return {};
  const auto end = reinterpret_cast<std::uintptr_t>(::sbrk(0)) & ~(page - 1);  // it has grown since, or shrunk
  return {heap_.begin, std::min(end, heap_.begin + max_mapping + room)};
}

Pages::Range Pages::stack_in_use() const {
  if (stack_.begin == 0) return {};
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) & ~(page - 1);
  return {std::max(stack_.begin, here - stack), stack_.end};
}

void Pages::own() const {
  for (const Range& range : ranges_) populate(range, MADV_POPULATE_WRITE);
  populate(heap(), MADV_POPULATE_WRITE);
  populate(stack_in_use(), MADV_POPULATE_WRITE);
}

void Pages::map_code() const {
  for (const Range& range : code_) populate(range, MADV_POPULATE_READ);
}

void Pages::touch() const {
  std::for_each(code_.begin(), code_.end(), read_each);
  std::for_each(ranges_.begin(), ranges_.end(), read_each);
  read_each(heap());
  read_each(stack_in_use());
}

void Pages::make_room() {
  constexpr std::size_t block = 64 * 1024;  // below what malloc maps on its own (mallopt(3), M_MMAP_THRESHOLD)
  std::array<void*, room / block> blocks;
  for (void*& one : blocks) one = std::malloc(block);
  // The last stays, so that the others are not the heap's top.
  for (std::size_t i = 0; i + 1 < blocks.size(); ++i) std::free(blocks[i]);
}

}  // namespace hatchd::worker
