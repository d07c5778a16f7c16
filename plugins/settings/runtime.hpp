// What HotSpot publishes in its performance data.
#pragma once

#include "settings/section.hpp"

namespace settings {

struct PerfEntry {
  std::string name, value;
};

// The strings and numbers of a performance data file, version 2, of a machine that is little-endian as this one
// (jdk: share/runtime/perfMemory.hpp). Bytes that are none give nothing.
std::vector<PerfEntry> parse_perf_data(std::string_view bytes);

}  // namespace settings
