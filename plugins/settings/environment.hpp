// Reading /proc/PID/environ.
#pragma once

#include "settings/section.hpp"

namespace settings {

constexpr std::size_t environment_limit = std::size_t{1} << 20;
constexpr std::size_t max_variables = 8192;

// By name, each once; what is no NAME=value is left out.
std::vector<Row> parse_environment(std::string_view text);

}  // namespace settings
