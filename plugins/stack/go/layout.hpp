// Where the members of the runtime's structures are in a program: by its debug information, which knows; else by a
// table of versions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace stack::go {

// Offsets in runtime.g and runtime.m. 0: not known.
struct Layout {
  unsigned status = 0, id = 0, wait_reason = 0, created_by = 0, start = 0, locked = 0;  // of g
  unsigned thread = 0;                                                                  // of m: procid
};

// `version`: "go1.19.8". `fd`: the program's file, whose debug information is read without rights.
std::optional<Layout> layout_of(int fd, std::string_view version);

// The 19 of "go1.19.8"; 0: not known.
int minor_version(std::string_view version);
// Whether a version is in the table, and takes no debug information.
bool knows_layout(int minor);

}  // namespace stack::go
