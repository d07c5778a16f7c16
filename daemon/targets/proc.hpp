// Files of /proc/PID, read relative to a directory descriptor: after the process is gone every read fails with ESRCH,
// and never reaches a later process of the same number. Formats: proc(5). All text in them is under the control of the
// process that it describes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"

namespace hatchd::targets {

// The first `max` bytes of a file below `directory`; errno says why not. A link as last component is not followed.
std::optional<std::string> read_front(int directory, const char* path, std::size_t max);

struct Stat {
  pid_t pid = 0;
  std::string name;  // raw, at most 15 bytes
  char state = '?';
  pid_t parent = 0;
  bool kernel_thread = false;
  std::uint64_t cpu_ticks = 0;
  std::uint64_t threads = 0;
  std::uint64_t started_ticks = 0;  // since boot
};
std::optional<Stat> parse_stat(std::string_view text);
std::optional<Stat> read_stat(int directory);

struct Status {
  uid_t real_uid = 0, uid = 0, saved_uid = 0;  // uid: the effective one
  gid_t gid = 0;
  pid_t tracer = 0;
  std::uint64_t resident_bytes = 0;
  unsigned pid_namespaces = 0;  // between the reader's and the process's own, both counted; 0: an old kernel
};
std::optional<Status> parse_status(std::string_view text);
std::optional<Status> read_status(int directory);
// Whether real, effective and saved uid are this one: a setuid program belongs to nobody.
bool belongs_to(const Status& status, uid_t uid);

// The arguments, split at NUL, of the first `max` bytes. Empty for zombies and kernel threads.
std::optional<std::vector<std::string>> read_command(int directory, std::size_t max);

// What the link says; no more than the text.
std::optional<std::string> read_link(int directory, const char* path);

// Calls `see` for each entry of a directory (but . and ..) until it returns false; false when it cannot be listed.
bool each_entry(int directory, const char* path, const std::function<bool(const char*)>& see);

// The last component of a path.
std::string_view base_name(std::string_view path);

// A time in ticks since boot as wall time.
WallTime wall_time(std::uint64_t ticks);

}  // namespace hatchd::targets
