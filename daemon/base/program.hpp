// Where the parts of hatchd lie.
#pragma once

#include <string>
#include <string_view>

#include "base/problem.hpp"

namespace hatchd {

// This program.
std::string own_program();
// A part that nobody calls by its name, such as "hatchd-worker": in libexec beside this program's folder.
Result<std::string> own_part(std::string_view name);

}  // namespace hatchd
