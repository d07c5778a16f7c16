// What the cgroup of a process says about where it came from (cgroups(7), systemd's cgroup layout).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "targets/find/finder.hpp"

namespace hatchd::targets {

struct Cgroup {
  std::vector<std::string> components;
  // The user whose service manager made it: whatever stands below user@UID.service is named as that user likes.
  std::optional<uid_t> manager;
};

// The paths of systemd's own hierarchy: the one of cgroup v2 and, on hosts of both versions, name=systemd.
std::vector<Cgroup> parse_cgroups(std::string_view text);
std::vector<Cgroup> read_cgroups(int directory);

// The systemd unit of a path: what follows the slices, as "web.service"; "" when none does or when something that is
// not systemd's (a container) stands above it. Below a user's manager: that user's unit.
std::string unit_of(const Cgroup& cgroup);

// Whether the name says anything about a process of this cgroup. Below a user's service manager everything is named as
// that user likes, so there it counts only where "user" names him, or where hatchd has no rights and runs as that user.
// Elsewhere root gave the name; "user" then is whose processes are meant.
bool admitted(const Cgroup& cgroup, int directory, const Context& context);

// Whether one component is that container: "docker-ID.scope", "cri-containerd-ID.scope", "ID"; `id` may be its begin.
bool in_container(const Cgroup& cgroup, std::string_view id);

}  // namespace hatchd::targets
