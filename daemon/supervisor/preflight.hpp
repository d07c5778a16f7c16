// `hatchd preflight`: which hatches would work, and what is missing for the others. A daemon that runs for this
// configuration or process is asked; where there is none, one is started on a socket that nobody else knows, with runs
// in a temporary folder, asked, and ended. It judges as whoever called, which is said.
//
// Asking and telling is hatchctl's (client/preflight.hpp), which is started for it: this program parses no HTTP answer
// and needs no libcurl.
#pragma once

#include "supervisor/supervisor.hpp"
#include "supervisor/zero.hpp"

namespace hatchd::supervisor {

struct PreflightOptions {
  ZeroOptions zero;       // pid, name or unit; none of them: `loaded`
  std::string file;       // where `loaded` was read
  config::Loaded loaded;  // without faults
  config::CheckTargets check_targets = nullptr;
  bool json = false;
  std::string target;
  std::vector<std::string> hatches;  // only these
};

// hatchctl's exit status, or hatchd's own when nothing could be started.
int preflight_command(PreflightOptions options);

}  // namespace hatchd::supervisor
