// `hatchd: targets`, the one process that may look into others: it finds the configured targets, reads their facts, and
// hands out pidfd and /proc directory of their processes. It has no network, no plugin code and no thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <vector>

#include "base/problem.hpp"
#include "link/channel.hpp"

namespace hatchd::targets {

// The whole life of the process: lowers its rights to those in `setup`, then answers the front and the plugins until
// the supervisor says stop or is gone. Returns the exit status (link/protocol.hpp).
int serve(link::Channel& supervisor, link::Message& setup);

// What is wrong with the "targets" of a configuration, each with its JSON Pointer relative to `targets`.
std::vector<FieldError> check(const boost::json::object& targets);

}  // namespace hatchd::targets
