// act.hpp: for hatches that look before they act.
//
// SPDX-License-Identifier: MIT
//
// What acts is on record before it does so: the run and its line of the audit outlast a power cut (docs/audit.md). A hatch
// that declares the requirement "act/1" may look while that is being written (read settings, connect, log in, count), and
// says when it is done with that:
//
//   hatch::begin_to_act(run);  // before this line it does what a dry run may do, too
//
// A hatch without the requirement is started when all is on record, and has nothing to say.
#pragma once

#include <string_view>

#include "hatch/hatch.hpp"

namespace hatch {

// The extension "act/1".
inline constexpr std::string_view act_extension = "act/1";
struct ActExtension {
  std::uint32_t size;
  // Waits until the run is on record; at once after the first time, in a dry run and under `hatchd exec`. 0, or a negative
  // errno, after which the run must not act and ends: -ECANCELED: it was cancelled, is out of time, or cannot be recorded.
  std::int32_t (*begin)(hatch_run* run);
};

// Throws Cancelled where the run must not act. A host without the extension (a test's) records nothing.
inline void begin_to_act(const Run& run) {
  const auto* extension = static_cast<const ActExtension*>(run.extension(act_extension));
  if (extension != nullptr && extension->begin(run.handle()) != 0) throw Cancelled{};
}

}  // namespace hatch
