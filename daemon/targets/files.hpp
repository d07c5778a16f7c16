// Files of a target that a hatch may read: opened here, where the right to do so is, and handed out read only.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/problem.hpp"
#include "targets/target.hpp"

namespace hatchd::targets {

// `file`: "environment", "resolv.conf", "hosts", "nsswitch.conf", "network" (its network namespace), or "log" (the target's log of the configuration).
Result<UniqueFd> open_file(const Target& target, const Process& process, std::string_view file);

}  // namespace hatchd::targets
