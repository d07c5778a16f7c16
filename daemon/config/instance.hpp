// The configuration of `hatchd@NAME.service`: the machine's one, narrowed to one systemd unit.
#pragma once

#include <string>

#include "config/config.hpp"

namespace hatchd::config {

struct Instance {
  std::string unit;    // "web.service"; without a dot ".service" is meant
  std::string folder;  // of the socket, hatchd.sock; systemd's $RUNTIME_DIRECTORY
  std::string runs;    // $STATE_DIRECTORY
};

// As load(), then: the only listener is the Unix socket in `folder`, with mode and group of the configuration's first
// Unix socket; the only target is the unit (as configured, where a target has it); runs and audit are in `runs`.
Loaded load(const std::string& file, const Instance& instance, CheckTargets check_targets = nullptr);

}  // namespace hatchd::config
