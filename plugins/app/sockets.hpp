// Finds the socket on which a process of the target serves its hatches (docs/hatchkit.md), and connects to it.
//
// The socket lies in the target's own file system and is named after the pid that the target knows. Anybody may have put
// something of that name there, so what counts is who answers: the kernel says which process called listen(2)
// (SO_PEERCRED, unix(7)), and that must be the very process of the target.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hatch/hatch.hpp"
#include "stack/procfs.hpp"

namespace app {

struct Door {
  hatch_process process{};
  std::string path;               // as the target sees it; empty: it has none
  std::string why;                // why it cannot be used, a sentence; empty: it can, or there is none
  std::string missing, remedy;    // the right that lacks, if that is why
  stack::UniqueFd first, second;  // two connections, made while there are rights to: each carries one request

  bool usable() const { return static_cast<bool>(first); }
};

// One Door for each process of the target, in the host's order. `connections`: 1 or 2.
std::vector<Door> find_doors(const hatch::Run& run, int connections);

// HATCH_DIR of an environment as /proc/PID/environ holds it; empty when it is not set or no absolute path.
std::string hatch_dir(std::string_view environ);
// The innermost of the numbers in the line "NSpid:" of /proc/PID/status (proc(5)): what the process takes its pid to be.
int inner_pid(std::string_view status, int fallback);

}  // namespace app
