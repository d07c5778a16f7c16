#include "base/clock.hpp"

#include <sys/random.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <stdexcept>

namespace hatchd {

namespace {
constexpr std::string_view crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
}

std::string rfc3339(WallTime time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  // Floor, so that times before 1970 keep a positive fraction.
  const std::int64_t seconds = ms >= 0 ? ms / 1000 : (ms - 999) / 1000;
  const std::time_t clock = seconds;
  std::tm parts{};
  ::gmtime_r(&clock, &parts);
  char text[40];
  const std::size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>(ms - seconds * 1000));
  return text;
}

std::string new_ulid() {
  // One process makes its ids on one thread; the state is what makes ids of the same millisecond sort.
  thread_local std::uint64_t last_ms = 0;
  thread_local std::array<std::uint8_t, 10> random{};
  const auto ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
  if (ms > last_ms) {
    last_ms = ms;
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
      throw std::runtime_error("getrandom failed");
    random[0] &= 0x7F;  // room to count up
  } else {
    for (std::size_t i = random.size(); i-- > 0;)
      if (++random[i] != 0) break;
  }
  std::string id(26, '0');
  for (int i = 0; i < 10; ++i) id[static_cast<std::size_t>(i)] = crockford[last_ms >> (45 - 5 * i) & 31];
  // 80 bits as sixteen groups of five.
  for (unsigned group = 0; group < 16; ++group) {
    unsigned value = 0;
    for (unsigned bit = group * 5; bit < group * 5 + 5; ++bit)
      value = value << 1 | (random[bit / 8] >> (7 - bit % 8) & 1u);
    id[10 + group] = crockford[value];
  }
  return id;
}

bool is_ulid(std::string_view text) {
  return text.size() == 26 && text.find_first_not_of(crockford) == std::string_view::npos && text[0] <= '7';
}

std::chrono::microseconds parse_duration(std::string_view text) {
  constexpr std::chrono::microseconds bad{-1};
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return bad;
  const std::string_view unit{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  std::int64_t factor = 0;
  if (unit == "us") factor = 1;
  if (unit == "ms") factor = 1000;
  if (unit == "s") factor = 1000'000;
  if (unit == "m") factor = 60'000'000;
  if (unit == "h") factor = 3600'000'000;
  if (unit == "d") factor = 86400'000'000;
  if (factor == 0 || number > INT64_MAX / factor) return bad;
  return std::chrono::microseconds{number * factor};
}

}  // namespace hatchd
