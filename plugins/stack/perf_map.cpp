#include "stack/perf_map.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

namespace stack {
namespace {

constexpr std::size_t map_limit = std::size_t{64} << 20;
constexpr std::size_t max_entries = 1'000'000, max_name = 1024;

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

std::string read_perf_map(const Process& process) {
  const auto status = read_below(process.proc_fd, "status", 16 * 1024);
  if (!status) return {};
  const std::string path = "/tmp/perf-" + std::to_string(own_number(*status)) + ".map";
  const UniqueFd file = open_below_root(process.proc_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) < 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1) return {};
  if (info.st_uid != 0 && info.st_uid != number_in(status_value(*status, "Uid"))) return {};
  return read_all(file.get(), map_limit).value_or("");
}

// A line is "START SIZE name", both in hexadecimal; the name may hold blanks.
PerfMap::PerfMap(std::string_view text) {
  for (std::size_t at = 0; at < text.size() && entries_.size() < max_entries;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const char* const line = text.data() + at;
    const char* const line_end = text.data() + end;
    at = end + 1;
    Entry entry{};
    std::uint64_t size = 0;
    const auto [after_start, bad_start] = std::from_chars(line, line_end, entry.start, 16);
    if (bad_start != std::errc{} || after_start == line_end || *after_start != ' ') continue;
    const auto [after_size, bad_size] = std::from_chars(after_start + 1, line_end, size, 16);
    if (bad_size != std::errc{} || after_size == line_end || *after_size != ' ' || size > ~entry.start) continue;
    entry.end = entry.start + size;
    entry.name =
        std::string_view{after_size + 1, static_cast<std::size_t>(line_end - after_size - 1)}.substr(0, max_name);
    entries_.push_back(entry);
  }
  // Code moves and its place is used again: what was written last is true.
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.start < b.start; });
}

std::string_view PerfMap::find(std::uint64_t address) const {
  auto at = std::upper_bound(entries_.begin(), entries_.end(), address,
                             [](std::uint64_t a, const Entry& entry) { return a < entry.start; });
  for (int tries = 0; tries < 8 && at != entries_.begin(); ++tries) {
    --at;
    if (address < at->end) return at->name;
  }
  return {};
}

}  // namespace stack
