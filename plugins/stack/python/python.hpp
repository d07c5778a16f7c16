// CPython 3.8 to 3.14: stacks read from the interpreter's own structures, while it runs.
#pragma once

#include "stack/runtime.hpp"

namespace stack {

std::unique_ptr<RuntimeReader> detect_python(const Subject& subject);

}  // namespace stack
