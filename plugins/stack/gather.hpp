// The first phase: everything that needs rights on the target. Copies, parses next to nothing.
#pragma once

#include "stack/model.hpp"

namespace stack {

// For a dry run: why a process could not be read, or in `how` in what way, where there is more to say than that it can be.
// Nothing is asked of it.
std::optional<Trouble> foresee(const Process& target, const Options& options, std::string& how);

Gathered gather(const std::vector<Process>& processes, const Options& options, Hold& hold);

}  // namespace stack
