// Keys that the contract names and this version does not act upon. They are in the schema, so that editors know them,
// and load() refuses them: a key that is read and ignored would let somebody believe in an audit that is not written.
#pragma once

#include <boost/json/fwd.hpp>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::config {

// Says so in the schema, and takes their defaults away.
void annotate_unsupported(boost::json::object& schema);
// Those of them that `configuration` uses.
std::vector<FieldError> find_unsupported(const boost::json::object& configuration);

}  // namespace hatchd::config
