// What is evaluated in a Node that seems to run no JavaScript: it gives a pending pause something to happen in, and its
// value says what the event loop waits for.
#pragma once

#include <string>
#include <string_view>

namespace stack::node {

// Parameters of Runtime.evaluate. The expression has no effect; what it counts is a list of kinds such as "Timeout" and
// "TCPServerWrap" (process.getActiveResourcesInfo(), Node 17.3).
extern const std::string_view probe_parameters;
// The URL that its frames have.
extern const std::string_view probe_url;

// From the answer: a JSON object of kinds and how many of each; empty: there is none. Written anew, so it is valid and
// bounded.
std::string probe_result(std::string_view reply);

}  // namespace stack::node
