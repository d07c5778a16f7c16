// What a running hatchd cannot take over: sockets are bound, users are chosen and plugins are opened once, before rights
// are given up. Everything else a reload replaces.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

namespace hatchd::supervisor {

// JSON Pointers of the settings that differ and take a restart. Both are effective configurations.
std::vector<std::string> needs_restart(const boost::json::object& before, const boost::json::object& now);

}  // namespace hatchd::supervisor
