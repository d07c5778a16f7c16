// From an instruction to the line that it was compiled from.
#pragma once

#include <cstdint>
#include <string_view>

#include "stack/python/layout.hpp"

namespace stack::python {

// `at`: the instruction's offset in bytes from the begin of the bytecode; negative: none was executed yet. The line that
// the code object begins with stands in where the table ends early; 0: the compiler gave the instruction no line.
int line_of(Lines format, std::string_view table, int first_line, std::int64_t at);

}  // namespace stack::python
