#include "supervisor/memory_limit.hpp"

#include <fcntl.h>

#include <charconv>
#include <filesystem>
#include <sstream>

#include "base/fd.hpp"

namespace hatchd::supervisor {

namespace {

// Version 1 has no word for "no limit": what is beyond any machine's memory is none.
constexpr std::uint64_t beyond_any = 1ULL << 60;

std::optional<std::uint64_t> number_in(const std::filesystem::path& file) {
  const auto text = read_file_at(AT_FDCWD, file.c_str(), 64);
  std::uint64_t bytes = 0;
  if (!text) return std::nullopt;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), bytes);
  if (error != std::errc{} || bytes >= beyond_any) return std::nullopt;  // "max", too
  return bytes;
}

// The controllers' column holds this one: "cpu,memory".
bool names_memory(const std::string& controllers) {
  std::istringstream list{controllers};
  for (std::string name; std::getline(list, name, ',');)
    if (name == "memory") return true;
  return false;
}

}  // namespace

std::optional<std::uint64_t> memory_limit(const std::string& cgroups, const std::string& own) {
  std::optional<std::uint64_t> least;
  std::istringstream lines{read_file_at(AT_FDCWD, own.c_str(), 64 * 1024).value_or("")};
  for (std::string line; std::getline(lines, line);) {  // "4:memory:/path" or, of version 2, "0::/path"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && !names_memory(controllers)) continue;
    const std::filesystem::path root = controllers.empty() ? cgroups : cgroups + "/memory";
    const char* file = controllers.empty() ? "memory.max" : "memory.limit_in_bytes";
    std::filesystem::path below = line.substr(second + 1);
    below = below.relative_path();
    for (;; below = below.parent_path()) {
      const auto limit = number_in(root / below / file);
      if (limit && (!least || *limit < *least)) least = limit;
      if (below.empty()) break;
    }
  }
  return least;
}

}  // namespace hatchd::supervisor
