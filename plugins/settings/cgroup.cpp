// What the control group allows and what it uses: the limits that a container has. cgroup v2
// (Documentation/admin-guide/cgroup-v2.rst); of v1 the paths alone.
#include <fcntl.h>

#include <cerrno>

#include "settings/section.hpp"

namespace settings {
namespace {

constexpr std::size_t file_limit = std::size_t{64} << 10;

// Values of one line; of the others the named key is taken, as "oom_kill" of memory.events.
struct Setting {
  const char* member;
  const char* file;
  const char* key = nullptr;
};
constexpr Setting shown[] = {{"memory_max", "memory.max"},
                             {"memory_high", "memory.high"},
                             {"memory_current", "memory.current"},
                             {"memory_swap_max", "memory.swap.max"},
                             {"memory_swap_current", "memory.swap.current"},
                             {"oom_kills", "memory.events", "oom_kill"},
                             {"cpu_max", "cpu.max"},
                             {"cpu_weight", "cpu.weight"},
                             {"cpu_throttled_us", "cpu.stat", "throttled_usec"},
                             {"cpu_used_us", "cpu.stat", "usage_usec"},
                             {"pids_max", "pids.max"},
                             {"pids_current", "pids.current"}};

std::string value_of(std::string_view text, const char* key) {
  if (!key) return std::string(text.substr(0, text.find('\n')));
  std::string found;
  for_each_line(text, [&](std::string_view line) {
    const auto both = words(line);
    if (both.size() == 2 && both[0] == key) found = both[1];
  });
  return found;
}

}  // namespace

Section cgroup(const Subject& subject) {
  Section section{"cgroup"};
  const auto text = stack::read_below(subject.process.proc_fd, "cgroup", file_limit);
  if (!text) return section.missing("cgroup", errno);
  std::string unified;
  for_each_line(*text, [&](std::string_view line) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) return;
    const std::string controllers{line.substr(first + 1, second - first - 1)}, path{line.substr(second + 1)};
    section.add(controllers.empty() ? "path" : "path_" + controllers, path);
    if (controllers.empty()) unified = path;
  });
  // A path that climbs leads out of what this process sees of the hierarchy.
  if (!unified.empty() && unified.find("/..") == unified.npos) {
    const stack::UniqueFd folder{
        ::open(("/sys/fs/cgroup" + unified).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
    if (!folder) section.missing("/sys/fs/cgroup" + unified, errno);
    for (const Setting& setting : shown) {
      if (!folder) break;
      const auto file = stack::read_below(folder.get(), setting.file, file_limit);
      if (!file) continue;  // that controller is not on here
      if (std::string value = value_of(*file, setting.key); !value.empty()) section.add(setting.member, value);
    }
  }
  section.close();
  return section;
}

}  // namespace settings
