// The text of a result whose hatch brought none: what every hatch has in common, in the order in which a person reads.
#pragma once

#include <string>
#include <string_view>

namespace hatchd::worker {

// Verdict; steps as a table; hint; then the other members, indented. Printable, ends with a newline. `json` is a valid
// result (link::verdict_of). A very large one is rendered as its verdict alone.
std::string default_text(std::string_view json);

}  // namespace hatchd::worker
