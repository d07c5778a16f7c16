#include "worker/pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace hatchd::worker {

namespace {

#ifndef MADV_POPULATE_WRITE  // linux/mman.h; glibc 2.35 names both
constexpr int MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
#endif

constexpr std::uintptr_t page = 4096;  // a smaller one than the machine's does no harm: madvise(2) refuses it

void populate(std::uintptr_t begin, std::uintptr_t end, int how) {
  // The address came from the kernel, as a number.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, how);  // NOLINT
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

void Pages::map_code() const {
  for (const Range& range : code_) populate(range.begin, range.end, MADV_POPULATE_READ);
}

void Pages::own() const {
  for (const Range& range : ranges_) populate(range.begin, range.end, MADV_POPULATE_WRITE);
  if (heap_.begin != 0) {
    const auto end = reinterpret_cast<std::uintptr_t>(::sbrk(0)) & ~(page - 1);  // it has grown since, or shrunk
    populate(heap_.begin, std::min(end, heap_.begin + max_mapping), MADV_POPULATE_WRITE);
  }
  if (stack_.begin != 0) {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) & ~(page - 1);
    populate(std::max(stack_.begin, here - stack), stack_.end, MADV_POPULATE_WRITE);
  }
}

}  // namespace hatchd::worker
