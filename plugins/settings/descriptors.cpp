// Open descriptors, with what they are.
#include "settings/descriptors.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>

namespace settings {
namespace {

constexpr std::size_t max_counted = 1'000'000;

// "socket:[4711]": kind and number; a path otherwise.
std::string kind_of(std::string_view target) {
  if (target.starts_with('/')) return "file";
  if (target.starts_with("socket:")) return "socket";
  if (target.starts_with("pipe:")) return "pipe";
  if (target.starts_with("anon_inode:")) {
    std::string kind{target.substr(11)};
    std::erase_if(kind, [](char c) { return c == '[' || c == ']'; });
    return kind;
  }
  return std::string(target.substr(0, target.find(':')));
}

// open(2): the access mode is in the lowest bits of "flags:", which proc(5) writes in octal.
std::string mode_of(std::string_view fdinfo) {
  const std::string_view text = stack::status_value(fdinfo, "flags");
  unsigned flags = 0;
  std::from_chars(text.data(), text.data() + text.size(), flags, 8);
  if (flags & O_PATH) return "path";
  std::string mode = (flags & O_ACCMODE) == O_RDONLY   ? "read"
                     : (flags & O_ACCMODE) == O_WRONLY ? "write"
                                                       : "read+write";
  if (flags & O_APPEND) mode += ",append";
  return mode;
}

}  // namespace

std::vector<int> list_descriptors(int proc_fd, std::size_t& count, int& error) {
  std::vector<int> all;
  count = 0;
  const int folder = ::openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = folder < 0 ? nullptr : ::fdopendir(folder);
  if (!list) {
    error = errno;
    if (folder >= 0) ::close(folder);
    return all;
  }
  error = 0;
  while (const dirent* entry = ::readdir(list)) {
    const std::string_view name = entry->d_name;
    int number = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), number).ptr != name.data() + name.size()) continue;
    if (all.size() < max_descriptors) all.push_back(number);
    if (++count >= max_counted) break;
  }
  ::closedir(list);
  std::sort(all.begin(), all.end());
  return all;
}

std::optional<std::uint64_t> socket_inode(std::string_view target) {
  std::uint64_t inode = 0;
  if (!target.starts_with("socket:[")) return std::nullopt;
  target.remove_prefix(8);
  if (std::from_chars(target.data(), target.data() + target.size(), inode).ec != std::errc{}) return std::nullopt;
  return inode;
}

Section descriptors(const Subject& subject) {
  Section section{"descriptors"};
  std::size_t count = 0;
  int error = 0;
  const std::vector<int> numbers = list_descriptors(subject.process.proc_fd, count, error);
  if (error) return section.missing("fd", error);
  hatch::Array list;
  std::map<std::string, std::size_t> kinds;
  std::vector<Row> rows;
  for (const int number : numbers) {
    const std::string name = std::to_string(number);
    const auto target = stack::link_below(subject.process.proc_fd, "fd/" + name);
    if (!target) continue;  // closed meanwhile
    const std::string kind = kind_of(*target);
    ++kinds[kind];
    const auto info = stack::read_below(subject.process.proc_fd, "fdinfo/" + name, 4096);
    const std::string mode = info ? mode_of(*info) : "";
    struct stat file {};
    const bool deleted = kind == "file" && ::fstatat(subject.process.proc_fd, ("fd/" + name).c_str(), &file, 0) == 0 &&
                         file.st_nlink == 0;
    hatch::Object entry;
    entry.add("fd", number).add("kind", kind).add("target", *target);
    if (!mode.empty()) entry.add("mode", mode);
    if (deleted) entry.add("deleted", true).add("bytes", file.st_size);
    list.add(entry);
    rows.push_back({name, *target + (mode.empty() ? "" : " (" + mode + ")") +
                              (deleted ? ", deleted, still holds " + std::to_string(file.st_size) + " bytes" : "")});
  }
  hatch::Object by_kind;
  std::string summary;
  for (const auto& [kind, number] : kinds) {
    by_kind.add(kind, number);
    summary += (summary.empty() ? "" : ", ") + std::to_string(number) + " " + kind;
  }
  section.add("count", count);
  section.object.add("by_kind", by_kind);
  section.rows.push_back({"by_kind", summary});
  section.object.add("open", list);
  section.rows.insert(section.rows.end(), rows.begin(), rows.end());
  if (count > numbers.size())
    section.trouble = "only " + std::to_string(numbers.size()) + " of " + std::to_string(count) + " are listed";
  section.close();
  return section;
}

}  // namespace settings
