// The id of a run is a ULID (github.com/ulid/spec), which says when the run was made.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace hatch {

// The first ten characters, of 5 bits each in Crockford's base 32, are milliseconds since 1970. Empty: not of these digits.
inline std::optional<std::chrono::system_clock::time_point> made_at(std::string_view ulid) {
  constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  if (ulid.size() != 26) return std::nullopt;
  std::int64_t ms = 0;
  for (const char c : ulid.substr(0, 10)) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    ms = ms * 32 + static_cast<std::int64_t>(digit);
  }
  return std::chrono::system_clock::time_point{std::chrono::milliseconds(ms)};
}

}  // namespace hatch
