// `hatchd plugin new DIR`: the SDK's template, copied, to start a plugin from.
#pragma once

#include <string>

namespace hatchd {

// Copies into `directory`, which must not exist or be empty. Prints what to do next; the exit status.
int plugin_new_command(const std::string& directory);

}  // namespace hatchd
