// Secrets are masked before they are stored, logged or sent (docs/masking.md). One set of rules for each process: its
// `setup` brings the operator's, and everything that leaves the process goes through them.
#pragma once

#include <boost/json/fwd.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "hatch/mask.hpp"

namespace hatchd::mask {

// From here on, for every thread. Whoever still masks by the old rules ends with them.
void use(hatch::MaskRules rules);
// The same from the member "mask" of a setup or a configuration; absent: the built-in rules.
void use(const boost::json::object& holder);

std::shared_ptr<const hatch::Mask> rules();

std::string text(std::string_view text);
// By the names of the members, and all strings as text.
boost::json::value value(const boost::json::value& value);

}  // namespace hatchd::mask
