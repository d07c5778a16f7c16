// Learning in the middle of gathering.
//
// Whether a sleeping thread must be stopped takes rules, rules come from files that strangers wrote, and those are not
// parsed while there are rights. So it is done by a child that has dropped them first; what it hands back are tables,
// which are not trusted either.
#pragma once

#include "stack/cache/tables.hpp"

namespace stack::cache {

// The rules that the stacks of these threads take, into process.tables; what cannot be learned in time stays unknown.
// Called on a thread whose end lets go of what it traces, while nothing is stopped. False: cancelled.
bool learn_apart(ProcessCopy& process, const std::vector<std::size_t>& threads, unsigned max_frames, Hold& hold);

}  // namespace stack::cache
