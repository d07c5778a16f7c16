// What stands below plugins.stack in the configuration.
#pragma once

#include <string>
#include <string_view>

namespace stack {

// JSON Schema of it.
extern const char configuration_schema[];

// The address of pprof that `configuration` (JSON, valid) has for a target; empty: none.
std::string pprof_of(std::string_view configuration, std::string_view target);

}  // namespace stack
