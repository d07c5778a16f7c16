// Finds the interpreter's state in a program or library: the symbol or section of _PyRuntime.
//
// This runs with rights, on a file that the target's user may have written. So it reads headers and one symbol table by
// bounded pread(2) and takes nothing on trust.
#pragma once

#include "stack/python/memory.hpp"

namespace stack::python {

struct Interpreter {
  Address runtime = 0;   // of _PyRuntime in the target
  unsigned version = 0;  // PY_VERSION_HEX; 0: the file does not say (3.10 and earlier)
};

// In the file of `module`, whose first mapping is `first`.
std::optional<Interpreter> find_interpreter(const Module& module, const Mapping& first);

}  // namespace stack::python
