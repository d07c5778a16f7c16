// File, line and inlined functions from debug information.
#pragma once

#include "stack/model.hpp"

struct Dwfl_Module;

namespace stack {

// Sets file and line of `frame`. Returns the frames of functions inlined into it at `address`, innermost first; then
// the line of `frame` is that of the outermost call.
std::vector<Frame> add_lines(Dwfl_Module* module, std::uint64_t address, Frame& frame);

}  // namespace stack
