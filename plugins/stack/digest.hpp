// The second phase: from copies to names. No rights are needed, and what strangers wrote (ELF, DWARF, symbol names) is
// parsed here and nowhere else.
#pragma once

#include "stack/model.hpp"

namespace stack {

Digest digest(const Gathered& gathered, const Options& options, Hold& hold);

}  // namespace stack
