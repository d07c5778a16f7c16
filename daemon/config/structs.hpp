// From a valid effective configuration to plain structs.
#pragma once

#include <boost/json/fwd.hpp>

#include "config/config.hpp"

namespace hatchd::config {

// `effective` has passed schema and relations; secrets are filled in.
Config to_structs(const boost::json::object& effective);

}  // namespace hatchd::config
