// Which target a run is for (DESIGN section 4, "Choosing the target"). A pure function, so that its table is a test.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"
#include "catalogue/hatch.hpp"

namespace hatchd::catalogue {

// `names`: the targets that the caller sees. `command`: the curl line without a target, which the remedy completes.
// The name, "" for a run without target; target-required, target-unknown (with the nearest), params-invalid.
Result<std::string> choose_target(const Hatch& hatch, std::optional<std::string_view> named,
                                  const std::vector<std::string>& names, std::string_view command);

}  // namespace hatchd::catalogue
