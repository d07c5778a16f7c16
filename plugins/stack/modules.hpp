// The programs and libraries that a target has mapped, and a descriptor for the very file of each.
//
// A path says little: the file may be deleted, replaced by an upgrade, or in another mount namespace. So every way to a
// file is tried in order of certainty, and what it leads to must prove that it is the mapped file.
#pragma once

#include "stack/model.hpp"

namespace stack {

constexpr std::size_t max_mappings = 200'000;
constexpr std::size_t max_modules = 600;  // each holds a descriptor

// Of the text of /proc/PID/maps.
std::vector<Mapping> parse_maps(std::string_view text);

// Groups mappings of one file that follow each other and hold code somewhere. No files are opened.
std::vector<Module> group_modules(const std::vector<Mapping>& mappings);

// Opens the file of each module and tells its identity, copies the vdso from memory.
void open_modules(const Process& process, const std::vector<Mapping>& mappings, std::vector<Module>& modules);

}  // namespace stack
