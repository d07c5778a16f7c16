// HotSpot (OpenJDK and its kin, JDK 8 and later): mode "jvm".
#pragma once

#include "stack/runtime.hpp"

namespace stack {

std::unique_ptr<RuntimeReader> detect_jvm(const Subject& subject);

}  // namespace stack
