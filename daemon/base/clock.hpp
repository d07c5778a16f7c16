// Times as people and clients read them, and ids that sort by time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace hatchd {

using WallTime = std::chrono::system_clock::time_point;
using SteadyTime = std::chrono::steady_clock::time_point;

// RFC 3339 in UTC with milliseconds: "2026-11-23T14:40:44.123Z".
std::string rfc3339(WallTime time);
// Of a text that rfc3339() wrote of a time since 1970; nullopt for any other.
std::optional<WallTime> parse_rfc3339(std::string_view text);

// A ULID (github.com/ulid/spec): 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random bits from
// getrandom(2). What one thread makes sorts in the order of making, whatever becomes of the clock: while that stands still,
// or lies behind the last id, ids count up.
std::string new_ulid();
// This thread's next ids sort behind `id`, a ULID that another process made.
void continue_ulids(std::string_view id);
bool is_ulid(std::string_view text);

// "30s", "250ms", "2m", "1h", "24h", "30d", "500us"; microseconds, or -1 when it is none of these.
std::chrono::microseconds parse_duration(std::string_view text);

}  // namespace hatchd
