#include "metrics/time.hpp"

#include "base/clock.hpp"

namespace hatchd::metrics {

std::optional<double> unix_seconds(std::string_view rfc3339) {
  const auto time = parse_rfc3339(rfc3339);
  if (!time) return std::nullopt;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time->time_since_epoch());
  return static_cast<double>(ms.count()) / 1000;
}

}  // namespace hatchd::metrics
