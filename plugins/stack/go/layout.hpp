// Where the members of the runtime's structures are in a program: by its debug information, which knows; else by a
// table of versions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace stack::go {

// Offsets in runtime.g and runtime.m. 0: not known.
struct Layout {
  unsigned status = 0, id = 0, wait_reason = 0, created_by = 0, start = 0;  // of g
  unsigned thread = 0;                                                      // of m: procid
};

std::optional<Layout> layout_of(int fd, std::string_view version);

}  // namespace stack::go
