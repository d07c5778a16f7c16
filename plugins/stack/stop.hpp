// Copying threads that are stopped for it, by ptrace.
//
// A tracer is a thread, not a process: these functions run on one thread from first to last, and when that thread ends,
// the kernel lets go of whatever it still holds (ptrace(2)). So nothing here can leave a target stopped, SIGKILL
// included. SEIZE and INTERRUPT, never ATTACH: a target that SIGSTOP has stopped stays stopped, and no signal is made.
#pragma once

#include <functional>
#include <unordered_set>

#include "stack/memory.hpp"
#include "stack/model.hpp"

namespace stack {

// How it ended. What was read is in process.threads; a thread that was not read says why in its `error`.
enum class Outcome {
  complete,
  out_of_budget,  // max_pause passed, all were let go
  cancelled,
  refused,  // the kernel does not let us trace; process.trouble says why
};

// One at a time, running threads last.
Outcome copy_one_by_one(const Process& target, const Options& options, Hold& hold, ProcessCopy& process);

// The same, of those threads alone that run: nobody that sleeps is stopped.
Outcome copy_running(const Process& target, const Options& options, Hold& hold, ProcessCopy& process);

// What is done besides while all threads stand still, until `deadline`. False: it was cancelled or not finished.
using WhileStopped = std::function<bool(Clock::time_point deadline)>;

// All at once; running threads are stopped last and released first. Stacks are copied where process.native says so.
Outcome copy_together(const Process& target, const Options& options, Hold& hold, ProcessCopy& process,
                      const WhileStopped& besides = {});

// Why threads that were told to stop did not, in their `error`. For when the tracing thread has ended: one that stops
// late must not stand while somebody reads why.
void explain_unstopped(const Process& target, ProcessCopy& process);

}  // namespace stack
