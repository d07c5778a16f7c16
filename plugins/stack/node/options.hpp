// What the command line and NODE_OPTIONS of a Node say about its inspector (doc/api/cli.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stack::node {

struct InspectorOptions {
  bool wanted = false;                // it opens at start
  std::optional<std::uint16_t> port;  // 0: a free one is chosen
  bool signal_disabled = false;       // --disable-sigusr1
  std::uint16_t expected() const { return port.value_or(9229); }
};

// `command_line`: as in /proc/PID/cmdline; `node_options`: the value of the variable. What stands behind the program's
// name is the program's, but may be read as Node's: that costs a look at a port, or a signal that is not sent.
InspectorOptions read_options(std::string_view command_line, std::string_view node_options);

// The value of a variable in /proc/PID/environ.
std::string_view variable_of(std::string_view environment, std::string_view name);

}  // namespace stack::node
