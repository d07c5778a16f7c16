#include "base/clock.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <compare>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <stdexcept>

namespace hatchd {

namespace {

constexpr std::string_view crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr unsigned ulid_size = 26, time_digits = 10;

// The two parts of an id, which compare as its text does.
struct Made {
  std::uint64_t ms = 0;
  std::array<std::uint8_t, 10> random{};
  auto operator<=>(const Made&) const = default;
};
thread_local Made last;

}  // namespace

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

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  constexpr std::size_t length = std::string_view("2026-11-23T14:40:44.123Z").size();
  const std::string whole(text);
  std::tm parts{};
  const char* rest = ::strptime(whole.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  int ms = 0;
  if (!rest || *rest != '.' || whole.size() != length || whole.back() != 'Z') return std::nullopt;
  const auto [end, error] = std::from_chars(rest + 1, rest + 4, ms);
  if (error != std::errc() || end != rest + 4) return std::nullopt;
  const std::chrono::seconds seconds{::timegm(&parts)};
  constexpr auto most = std::chrono::duration_cast<std::chrono::seconds>(WallTime::duration::max());
  if (seconds.count() < 0 || seconds >= most) return std::nullopt;
  return WallTime{seconds + std::chrono::milliseconds(ms)};
}

std::string new_ulid() {
  const auto ms = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
  if (ms > last.ms) {
    last.ms = ms;
    if (::getrandom(last.random.data(), last.random.size(), 0) != static_cast<ssize_t>(last.random.size()))
      throw std::runtime_error("getrandom failed");
    last.random[0] &= 0x7F;  // room to count up
  } else {
    std::size_t i = last.random.size();
    while (i > 0 && ++last.random[i - 1] == 0) --i;
    if (i == 0) ++last.ms;
  }
  std::string id(ulid_size, '0');
  for (unsigned i = 0; i < time_digits; ++i) id[i] = crockford[last.ms >> (45 - 5 * i) & 31];
  // 80 bits as sixteen groups of five.
  for (unsigned i = time_digits; i < ulid_size; ++i) {
    unsigned value = 0;
    for (unsigned bit = (i - time_digits) * 5; bit < (i - time_digits + 1) * 5; ++bit)
      value = value << 1 | (last.random[bit / 8] >> (7 - bit % 8) & 1u);
    id[i] = crockford[value];
  }
  return id;
}

void continue_ulids(std::string_view id) {
  Made other;
  for (unsigned i = 0; i < ulid_size; ++i) {
    const auto value = static_cast<unsigned>(crockford.find(id[i]));
    if (i < time_digits) other.ms = other.ms << 5 | value;
    for (unsigned bit = 0; i >= time_digits && bit < 5; ++bit) {
      const unsigned at = (i - time_digits) * 5 + bit;
      other.random[at / 8] |= static_cast<std::uint8_t>((value >> (4 - bit) & 1u) << (7 - at % 8));
    }
  }
  last = std::max(last, other);
}

bool is_ulid(std::string_view text) {
  return text.size() == ulid_size && text.find_first_not_of(crockford) == std::string_view::npos && text[0] <= '7';
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
