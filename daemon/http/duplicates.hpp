// JSON objects that give a name twice. RFC 8259 lets a reader take either value, and Boost.JSON takes the last without
// a word; a request that could be read in two ways is refused instead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hatchd::http {

// JSON Pointers of the members that stand twice in `json`, at most eight. Of valid JSON; else what was found up to the
// fault.
std::vector<std::string> duplicate_members(std::string_view json);

// "a/b" to "/a~1b": one step of a JSON Pointer (RFC 6901).
std::string pointer_step(std::string_view name);

}  // namespace hatchd::http
