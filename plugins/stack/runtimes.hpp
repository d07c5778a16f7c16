// The runtimes that stack.dump knows.
#pragma once

#include "stack/runtime.hpp"

namespace stack {

// The reader of the first runtime that finds itself in the process and answers to `mode` ("python", "jvm", …; "auto"
// and "all": whichever it is). None: the process has no such runtime.
std::unique_ptr<RuntimeReader> detect_runtime(const Subject& subject, std::string_view mode);

}  // namespace stack
