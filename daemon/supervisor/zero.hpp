// `hatchd --pid N`: one target, no configuration. A private folder with a socket only its owner can use; runs in a
// temporary folder; everything goes when it ends, and it ends with the terminal.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hatchd::supervisor {

struct ZeroOptions {
  std::optional<int> pid;  // exactly one of these three
  std::string name, unit;
  bool tcp = false;                 // also loopback, with a fresh token
  std::vector<std::string> enable;  // disrupting hatches by exact id
};

// Serves until the end; returns the exit status.
int serve_without_configuration(const ZeroOptions& options);

}  // namespace hatchd::supervisor
