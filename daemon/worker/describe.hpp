// Asking a plugin what it brings, from outside: the parent's half of role "manifest".
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <string>

#include "base/problem.hpp"

namespace hatchd::worker {

inline constexpr std::chrono::seconds describe_patience{5};

// MANIFEST of link/protocol.hpp, from a child without rights; or `plugin-broken`, also when the child crashed or hung.
Result<boost::json::object> describe(const std::string& worker_program, int object);

}  // namespace hatchd::worker
