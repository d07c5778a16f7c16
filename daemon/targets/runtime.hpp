// Which language's machine runs in a process: what decides how its stacks are read.
#pragma once

#include <string>
#include <string_view>

namespace hatchd::targets {

// "native", "python", "jvm", "node", "go", "dotnet", "ruby", "beam", "php" or "unknown". Looks at the mapped libraries,
// then at the sections of the executable, then at names; "unknown" when none of them may be read or says anything.
// `executable` is the text of the exe link ("" when it may not be read), `name` the process's comm.
std::string runtime_of(int directory, std::string_view executable, std::string_view name);

}  // namespace hatchd::targets
