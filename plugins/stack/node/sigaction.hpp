// What a process does on a signal. /proc tells that it is caught, not by whom, and no call asks that of another process:
// so a thread of it is stopped for some ten microseconds and made to ask, by sigaction(2) with nothing to set.
#pragma once

#include <sys/types.h>

#include "stack/model.hpp"

namespace stack::node {

struct SignalAction {
  std::uint64_t handler = 0;  // 0: default, 1: ignored
  std::uint64_t flags = 0;    // SA_*
};

// nullopt: it could not be asked, and `why` says why. The thread that is asked sleeps in a futex wait, which begins anew
// afterwards; its registers are put back as they were. Only a SIGKILL to ourselves within these microseconds would leave
// it with a spurious wake-up and four changed argument registers.
std::optional<SignalAction> ask_signal_action(const Process& process, int signal, Hold& hold, std::string& why);

}  // namespace stack::node
