// JSON objects that give a name twice. RFC 8259 lets a reader take either value, and Boost.JSON takes the last without
// a word; a request that could be read in two ways is refused instead.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hatchd::http {

// JSON Pointers of the members that stand twice in `json`, at most eight. Of valid JSON; else what was found up to the
// fault.
std::vector<std::string> duplicate_members(std::string_view json);

// How much stands in a JSON text, counted by its commas and brackets alone: a fraction of the time of reading it. Exact
// for valid JSON; a fault elsewhere is the parser's to find.
struct JsonSize {
  std::size_t members = 0;  // of the outermost object or array
  std::size_t values = 0;   // of all depths, with objects and arrays themselves
};
JsonSize json_size(std::string_view json);

// "a/b" to "/a~1b": one step of a JSON Pointer (RFC 6901).
std::string pointer_step(std::string_view name);

}  // namespace hatchd::http
