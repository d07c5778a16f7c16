// The commands of the command line that are about the configuration. Each prints and returns the exit status.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"

namespace hatchd::config {

// What a valid configuration names and the machine does not have (supervisor/check.hpp).
using CheckWorld = std::vector<FieldError> (*)(const Config& config);

// `hatchd check`: every fault on a line of its own, or "FILE: ok". 0 or 1.
int check_command(const std::string& file, CheckTargets check_targets = nullptr, CheckWorld check_world = nullptr);
// `hatchd config show`: the effective configuration, masked, then the origin of each value as comments; what is printed
// can be loaded again. 0, or 1 with the faults.
int show_command(const std::string& file, CheckTargets check_targets = nullptr);
// `hatchd config schema`.
int schema_command();

}  // namespace hatchd::config
