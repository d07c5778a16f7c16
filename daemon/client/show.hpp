// One run as a person reads it: who, when, how, and what it produced.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "client/commands.hpp"

namespace hatchd::client {

// The run's record without its result.
Result<boost::json::object> record_of(const Client& client, const std::string& run);
// "stack.dump on web".
std::string place_of(const boost::json::object& record);
// Lines of "name  value", then the artifacts; printable, ending in a newline.
std::string head_of(const boost::json::object& record);

}  // namespace hatchd::client
