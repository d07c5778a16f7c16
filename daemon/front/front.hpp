// `hatchd: front`, the process that strangers can reach: HTTP, runs, events, artifacts. It has no capability, starts no
// program and loads no plugin code; what it wants done it asks of the others (link/protocol.hpp).
#pragma once

#include "link/channel.hpp"

namespace hatchd::front {

// The whole life of the process. Returns its exit status.
int serve(link::Channel supervisor, link::Message setup);

}  // namespace hatchd::front
