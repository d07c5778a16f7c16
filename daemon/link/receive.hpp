// Taking a message from a peer that may say less than Channel::max_body: a message is read and parsed on the event loop
// of whoever takes it, so what a run may send is bounded closer than what hatchd's own processes tell each other.
#pragma once

#include "link/channel.hpp"

namespace hatchd::link {

// Of a run channel. What is larger (results, renderings) travels in a memory file of its own; output comes in pieces.
inline constexpr std::size_t max_run_body = 512 * 1024;
// Of the text of one event, in bytes of UTF-8; the front cuts what is longer.
inline constexpr std::size_t max_output = 64 * 1024, max_log = 8000;

// Channel::receive() with a bound of its own; a larger message is `broken`.
Received receive(int socket, Message& message, std::size_t max_body);

}  // namespace hatchd::link
