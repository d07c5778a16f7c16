// What holds a run back: its end in time, and that it may be cancelled.
#pragma once

#include <algorithm>
#include <chrono>

#include "mail/settings.hpp"

namespace mail {

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

struct Fences {
  int cancel_fd = -1;            // readable: the run is to stop; -1: never
  Clock::time_point deadline{};  // of the whole run
  Clock::time_point until(Millis limit) const { return std::min(deadline, Clock::now() + limit); }
};

// The cancel descriptor became readable.
struct Cancelled {};

}  // namespace mail
