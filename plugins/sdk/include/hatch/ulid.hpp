// The id of a run is a ULID (github.com/ulid/spec), which says when the run was made, or later: ids sort in the order of making,
// also where the clock was set back.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace hatch {

// The first ten characters, of 5 bits each in Crockford's base 32, are milliseconds since 1970. Empty: not of these digits,
// or of a time beyond those that a time_point has (the year 2262).
inline std::optional<std::chrono::system_clock::time_point> made_at(std::string_view ulid) {
  constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  if (ulid.size() != 26) return std::nullopt;
  std::int64_t ms = 0;
  for (const char c : ulid.substr(0, 10)) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    ms = ms * 32 + static_cast<std::int64_t>(digit);
  }
  using Time = std::chrono::system_clock::time_point;
  constexpr auto last = std::chrono::duration_cast<std::chrono::milliseconds>(Time::max().time_since_epoch());
  if (ms > last.count()) return std::nullopt;
  return Time{std::chrono::milliseconds(ms)};
}

}  // namespace hatch
