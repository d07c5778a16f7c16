// Values that are not written in the configuration itself, and values that must not be shown.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <vector>

#include "base/problem.hpp"
#include "hatch/mask.hpp"

namespace hatchd::config {

// Replaces ${NAME} in every string below `value` by the environment's variable; $${ stands for ${ itself. What was put
// in is not looked at again. A variable that is not there is a failure, at `pointer` and below.
void substitute(boost::json::value& value, const std::string& pointer, std::vector<FieldError>& failures);

// Masks what looks like a secret in a plugin's configuration or a recipe. References (${NAME}, {"file": …},
// {"credential": …}) stay: they say where a secret is, not what.
void mask_secrets(boost::json::value& value, const hatch::Mask& mask);

}  // namespace hatchd::config
