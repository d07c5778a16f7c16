// Whether an ELF file exports a symbol, found through its GNU hash table: a few reads, however large the file. The file
// is the target's, and hostile: every number of it is checked where it is used, by reads that fail.
#pragma once

#include <string_view>

namespace stack::node {

bool exports_symbol(int file, std::string_view name);

}  // namespace stack::node
