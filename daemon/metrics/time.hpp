// Times as metrics have them: seconds since 1970.
#pragma once

#include <optional>
#include <string_view>

namespace hatchd::metrics {

// Of a time that rfc3339() wrote (base/clock.hpp); nullopt for any other text.
std::optional<double> unix_seconds(std::string_view rfc3339);

}  // namespace hatchd::metrics
