// Node.js: the stacks of JavaScript, asked of its inspector.
//
// An inspector that is open already is used. One that is not is opened by SIGUSR1 where `act` allows it, and closed again
// afterwards. The signal is sent when it is sure that Node itself waits for it: a program with a handler of its own is
// not disturbed, and one without any would end.
//   https://nodejs.org/en/learn/getting-started/debugging, doc/api/process.md "Signal events", src/inspector_agent.cc
#pragma once

#include "stack/frame_table.hpp"
#include "stack/runtime.hpp"

namespace stack {

std::unique_ptr<RuntimeReader> detect_node(const Subject& subject);

namespace node {

struct Agent;

// Of what the inspector said; without any rights. Exposed for tests.
RuntimeThread show_agent(const Agent& agent, pid_t main, unsigned max_frames, FrameTable& frames);

}  // namespace node
}  // namespace stack
