// The first phase: everything that needs rights on the target. Copies, parses next to nothing.
#pragma once

#include "stack/model.hpp"

namespace stack {

Gathered gather(const std::vector<Process>& processes, const Options& options, Hold& hold);

}  // namespace stack
