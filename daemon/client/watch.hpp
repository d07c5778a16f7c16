// The same command again and again: on a terminal over itself, in a pipe one answer below the other.
#pragma once

#include <functional>
#include <string>

#include "client/commands.hpp"

namespace hatchd::client {

// Until it fails, or until `run` ("": none) has ended. The exit code of the last time.
int watch(const Client& client, const std::function<int(const Client&)>& command, const std::string& run);

}  // namespace hatchd::client
