// Values that are not written in the configuration itself, and values that must not be shown.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::config {

// Replaces ${NAME} in every string below `value` by the environment's variable; $${ stands for ${ itself. What was put
// in is not looked at again. A variable that is not there is a failure, at `pointer` and below.
void substitute(boost::json::value& value, const std::string& pointer, std::vector<FieldError>& failures);

// Masks what looks like a secret in a plugin's configuration: values of such names, passwords of URLs. References
// (${NAME}, {"file": …}, {"credential": …}) stay: they say where a secret is, not what.
void mask_plugin(boost::json::value& value);

}  // namespace hatchd::config
