// `hatchd --pid N`: one target, no configuration. A private folder with a socket only its owner can use; runs in a
// temporary folder; everything goes when it ends, and it ends with the terminal.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace hatchd::supervisor {

struct ZeroOptions {
  std::optional<int> pid;  // exactly one of these three
  std::string name, unit;
  bool tcp = false;                 // also loopback, with a fresh token
  std::vector<std::string> enable;  // disrupting hatches by exact id
  // Called with the socket when it serves, in place of the lines to paste. Nobody else is to find that socket.
  std::function<void(const std::string& socket)> ready;
};

// The sockets of a daemon of an earlier `hatchd --pid N`, as its own user or root made them.
std::vector<std::string> zero_sockets(int pid);

// Serves until the end; returns the exit status.
int serve_without_configuration(const ZeroOptions& options);

}  // namespace hatchd::supervisor
