#include "stack/modules.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "stack/memory.hpp"

namespace stack {
namespace {

constexpr std::string_view deleted_suffix = " (deleted)";
constexpr std::string_view vdso_name = "[vdso]";
constexpr std::size_t vdso_limit = 64 * 1024;

// Takes a number and the character behind it off the front of `line`.
bool take(std::string_view& line, std::uint64_t& value, int base, char behind) {
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, base);
  if (error != std::errc{} || end == line.data() + line.size() || *end != behind) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()) + 1);
  return true;
}

std::optional<Mapping> parse_line(std::string_view line) {
  Mapping m;
  std::uint64_t major = 0, minor = 0;
  if (!take(line, m.start, 16, '-') || !take(line, m.end, 16, ' ') || line.size() < 5) return std::nullopt;
  m.readable = line[0] == 'r';
  m.executable = line[2] == 'x';
  line.remove_prefix(5);
  if (!take(line, m.offset, 16, ' ') || !take(line, major, 16, ':') || !take(line, minor, 16, ' ')) return std::nullopt;
  m.device = makedev(static_cast<unsigned>(major), static_cast<unsigned>(minor));
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), m.inode);
  if (error != std::errc{}) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  const std::size_t path = line.find_first_not_of(' ');
  if (path != line.npos) m.path = line.substr(path);
  return m.start < m.end ? std::optional{m} : std::nullopt;
}

// A regular file behind `found` (O_PATH), opened for reading. The target's side may have put a pipe or a device there,
// which are not touched.
UniqueFd open_regular(const UniqueFd& found) {
  struct stat info {};
  if (!found || ::fstat(found.get(), &info) < 0 || !S_ISREG(info.st_mode)) return {};
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", found.get());
  return UniqueFd{::open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY)};
}

// Whether `file` is what is mapped. Device and inode prove it; where the file system shows other numbers in maps than
// in stat (btrfs, overlayfs), the first page does, which holds the headers and mostly the build-id.
bool is_mapped_file(int file, pid_t pid, const Mapping& first) {
  struct stat info {};
  if (::fstat(file, &info) < 0) return false;
  if (info.st_dev == first.device && info.st_ino == first.inode) return true;
  if (first.offset != 0 || !first.readable) return false;
  std::array<std::byte, 4096> mapped{}, stored{};
  const std::size_t in_memory = read_memory(pid, first.start, mapped);
  const ssize_t in_file = ::pread(file, stored.data(), stored.size(), 0);
  return in_file > 64 && in_memory >= static_cast<std::size_t>(in_file) &&
         std::memcmp(mapped.data(), stored.data(), static_cast<std::size_t>(in_file)) == 0;
}

UniqueFd open_module(const Process& process, const Mapping& first, const std::string& path) {
  char name[64];
  // Without zero padding, unlike maps. Needs CAP_CHECKPOINT_RESTORE; then it is the mapped file by definition.
  std::snprintf(name, sizeof name, "map_files/%lx-%lx", static_cast<unsigned long>(first.start),
                static_cast<unsigned long>(first.end));
  if (UniqueFd file{::openat(process.proc_fd, name, O_RDONLY | O_CLOEXEC)}) return file;
  const auto proven = [&](UniqueFd file) {
    return file && is_mapped_file(file.get(), process.pid, first) ? std::move(file) : UniqueFd{};
  };
  if (UniqueFd file = proven(UniqueFd{::openat(process.proc_fd, "exe", O_RDONLY | O_CLOEXEC)})) return file;
  if (!path.starts_with('/')) return {};
  if (UniqueFd file = proven(open_regular(open_below_root(process.proc_fd, path, O_PATH | O_NOFOLLOW)))) return file;
  return proven(open_regular(UniqueFd{::open(path.c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW)}));
}

}  // namespace

std::vector<Mapping> parse_maps(std::string_view text) {
  std::vector<Mapping> all;
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  all.reserve(std::min<std::size_t>(lines, max_mappings));
  for (std::size_t at = 0; at < text.size() && all.size() < max_mappings;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (auto mapping = parse_line(text.substr(at, end - at));
        mapping && (all.empty() || mapping->start >= all.back().end))
      all.push_back(std::move(*mapping));
    at = end + 1;
  }
  return all;
}

std::vector<Module> group_modules(const std::vector<Mapping>& mappings) {
  std::vector<Module> modules;
  for (std::size_t i = 0; i < mappings.size() && modules.size() < max_modules;) {
    const Mapping& first = mappings[i];
    const bool vdso = first.path == vdso_name;
    bool code = false;
    std::uint64_t end = first.end, offset = first.offset;
    std::size_t j = i;
    for (; j < mappings.size(); ++j) {
      const Mapping& m = mappings[j];
      // An offset that goes back is a second copy of the same file.
      if (m.inode != first.inode || m.device != first.device || m.path != first.path || (j > i && m.offset < offset))
        break;
      code |= m.executable;
      end = m.end;
      offset = m.offset;
    }
    i = std::max(j, i + 1);
    if (!code || (first.inode == 0 && !vdso)) continue;
    Module& module = modules.emplace_back();
    module.path = first.path;
    module.low = first.start;
    module.high = end;
    if (module.path.ends_with(deleted_suffix)) {
      module.deleted = true;
      module.path.resize(module.path.size() - deleted_suffix.size());
    }
  }
  return modules;
}

void open_modules(const Process& process, const std::vector<Mapping>& mappings, std::vector<Module>& modules) {
  const auto status = read_below(process.proc_fd, "status", 16 * 1024);
  const auto user = status ? file_system_user(*status) : std::nullopt;
  for (Module& module : modules) {
    const auto first = std::lower_bound(mappings.begin(), mappings.end(), module.low,
                                        [](const Mapping& m, std::uint64_t address) { return m.start < address; });
    if (first == mappings.end()) continue;
    if (module.path != vdso_name) {
      module.file = open_module(process, *first, module.path);
      if (module.file && user) module.identity = cache::identify(module.file.get(), *user, first->offset);
      continue;
    }
    module.image.resize(std::min<std::size_t>(module.high - module.low, vdso_limit));
    module.image.resize(read_memory(process.pid, module.low, std::as_writable_bytes(std::span{module.image})));
  }
}

}  // namespace stack
