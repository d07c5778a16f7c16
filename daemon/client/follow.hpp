// A run from now to its end: its events as they come, again from where they were when the connection breaks.
#pragma once

#include <string>

#include "client/commands.hpp"
#include "client/interrupt.hpp"

namespace hatchd::client {

struct End {
  std::string state;  // "succeeded", …
  Problem error;      // its code is "" when it succeeded
};

enum class Tell { progress, everything };

// Returns when the run has ended. Ctrl-C says that the run goes on; once more, or at all where `quick`, and this process
// ends. The error is an exit code, of a problem that was reported.
tl::expected<End, int> attend(const Client& client, const std::string& run, Tell tell, const Interrupts& interrupts,
                              bool quick);

// Prints what became of the run; the exit code.
int conclude(const Client& client, const std::string& run, const End& end, const std::string& format);

}  // namespace hatchd::client
