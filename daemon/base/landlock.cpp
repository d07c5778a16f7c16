#include "base/landlock.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/fd.hpp"

namespace hatchd::landlock {

namespace {

// Newer than the headers of Debian 12.
constexpr std::uint64_t access_truncate = 1ULL << 14;  // version 3

constexpr std::uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t changing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                   LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t never = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

Result<bool> failed(const char* call) { return refuse("internal", std::string(call) + ": " + errno_text(errno)); }

bool allow(int rules, int folder, std::uint64_t what) {
  landlock_path_beneath_attr below{};
  below.allowed_access = what;
  below.parent_fd = folder;
  return ::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) == 0;
}

}  // namespace

Result<bool> confine(std::span<const int> own, std::span<const char* const> readable) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 2) return false;
  const std::uint64_t truncate = version >= 3 ? access_truncate : 0;

  landlock_ruleset_attr handled{};
  handled.handled_access_fs = reading | changing | never | truncate;
  const UniqueFd rules{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0))};
  if (!rules) return failed("landlock_create_ruleset");
  for (const int folder : own)
    if (!allow(rules.get(), folder, reading | changing | truncate)) return failed("landlock_add_rule");
  for (const char* path : readable) {
    const UniqueFd folder{::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (folder && !allow(rules.get(), folder.get(), reading)) return failed("landlock_add_rule");
  }
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0) return failed("landlock_restrict_self");
  return true;
}

bool look_into_nobody() {
  // Any fence does; there is none without something that it forbids.
  landlock_ruleset_attr handled{};
  handled.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
  const UniqueFd rules{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0))};
  return rules && ::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0;
}

}  // namespace hatchd::landlock
