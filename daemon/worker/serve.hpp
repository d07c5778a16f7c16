// The plugin process: one plugin, opened once, from which each run is forked.
//
// It decides nothing about callers, that is the front's; but what the front names is checked against what the
// supervisor allowed (hatches, targets, limits, profiles), so a captured front gets no further than its own callers.
// Nothing it does waits: one poll(2) over its channels and signals, and a time for whatever must have happened by then.
#pragma once

#include "link/channel.hpp"

namespace hatchd::worker {

// All return the exit status of the process (link/protocol.hpp).

// Role "plugin": opens the object in `setup`, then serves until told to stop, idle, or left alone.
int serve_plugin(link::Channel& supervisor, link::Message& setup);
// Role "manifest": opens the object, says what it found, ends.
int read_manifest(link::Channel& supervisor, link::Message& setup);
// Role "manifests": forks a child for each object that does so on a channel of its own. Ends when all of them have.
int read_manifests(link::Channel& supervisor, link::Message& setup);

}  // namespace hatchd::worker
