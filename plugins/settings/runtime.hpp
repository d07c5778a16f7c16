// What HotSpot publishes in its performance data, and what it says when it is asked.
#pragma once

#include "settings/section.hpp"

namespace settings {

struct PerfEntry {
  std::string name, value;
};

// The strings and numbers of a performance data file, version 2, of a machine that is little-endian as this one
// (jdk: share/runtime/perfMemory.hpp). Bytes that are none give nothing.
std::vector<PerfEntry> parse_perf_data(std::string_view bytes);

// Text of java.util.Properties.store(), as HotSpot answers "properties" at its attach socket.
std::vector<Row> parse_properties(std::string_view text);

}  // namespace settings
