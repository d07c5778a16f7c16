// What a schema cannot say: keys that need each other, values that must be unique, texts with a meaning.
#pragma once

#include <boost/json/fwd.hpp>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::config {

// Tolerates what the schema refuses, so that all failures of a configuration come at once.
std::vector<FieldError> check_relations(const boost::json::object& configuration);

}  // namespace hatchd::config
