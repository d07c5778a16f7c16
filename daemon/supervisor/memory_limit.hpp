// How much memory the kernel lets hatchd have, all its processes together: MemoryMax= of a unit, the limit of a container.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hatchd::supervisor {

// Bytes; the least of the limits of our control group and those above it (cgroups(7), both versions). None: no limit is
// set, or none can be seen. `cgroups` and `own`: where the kernel shows them, other places for tests.
std::optional<std::uint64_t> memory_limit(const std::string& cgroups = "/sys/fs/cgroup",
                                          const std::string& own = "/proc/self/cgroup");

}  // namespace hatchd::supervisor
