// What a plugin's process frees is overwritten, so that runs, which are forked from it, do not find profiles and parameters
// of others in what is no longer used: the message that brought them, copies on their way to a run, the parser's pieces.
#pragma once

namespace hatchd::worker {

// While true, `operator delete` of hatchd-worker overwrites what it frees. A run turns it off: what it has is its own, and
// each page that it writes to costs it a copy. Other programs have the operator of the library, which never does.
inline bool wipes_freed = false;

}  // namespace hatchd::worker
