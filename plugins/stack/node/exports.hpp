// Whether an ELF file exports a symbol, found through its GNU hash table: a few reads, however large the file. The file
// is the target's, and hostile: every number of it is checked where it is used, by reads that fail.
#pragma once

#include <optional>
#include <string_view>

namespace stack::node {

// Nothing: the file has no such table, or one that leads out of it.
std::optional<bool> find_export(int file, std::string_view name);
// No where find_export() does not know.
bool exports_symbol(int file, std::string_view name);

}  // namespace stack::node
