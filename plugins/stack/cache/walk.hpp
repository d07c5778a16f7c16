// From a copy of a stack to return addresses by rules alone. What a rule cannot say is left to the library (unwind.hpp),
// which is asked for the whole stack then, so there is one truth about what a stack shows.
#pragma once

#include "stack/cache/tables.hpp"
#include "stack/unwind.hpp"

namespace stack::cache {

enum class Walked {
  whole,           // or as many as were asked for
  wants_register,  // one that a thread that was not stopped does not show
  unknown,         // there is no rule for an address yet
  library,         // it takes more than rules
};

struct Walk {
  Walked end = Walked::library;
  RawStack stack;
  std::uint64_t unknown = 0;  // the address
};

Walk walk(Tables& tables, const ThreadCopy& thread, unsigned max_frames);

}  // namespace stack::cache
