// Where the target's log is, as the configuration says it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "hatch/hatch.h"

namespace hatch {

// The extension "log/1", for hatches with the flag HATCH_TARGET_LOG: targets.NAME.log of the configuration as JSON
// (docs/configuration.md), references to secrets resolved; empty when there is none. A log that is a file is there as
// HATCH_FILE_LOG as well, opened by whoever has the right to.
struct LogExtension {
  std::uint32_t size;
  hatch_str (*log)(hatch_run* run);
};

}  // namespace hatch
