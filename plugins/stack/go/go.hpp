// Go programs, 1.16 and later: mode "go".
#pragma once

#include "stack/runtime.hpp"

namespace stack {

std::unique_ptr<RuntimeReader> detect_go(const Subject& subject);

}  // namespace stack
