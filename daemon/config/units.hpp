// The ways of writing a value that are the configuration's own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hatchd::config {

// "512B", "64KiB", "2GiB", "1TiB".
std::optional<std::uint64_t> parse_size(std::string_view text);

// "127.0.0.1:4282", "[::1]:0".
struct Address {
  std::string host;
  unsigned port = 0;
  bool loopback = false;
};
std::optional<Address> parse_address(std::string_view text);

// A date "2027-01-01" or an RFC 3339 time; only whether it is one.
bool is_date_or_time(std::string_view text);

}  // namespace hatchd::config
