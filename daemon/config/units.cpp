#include "config/units.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <chrono>
#include <limits>
#include <utility>

namespace hatchd::config {
namespace {

// All of `text` as decimal digits.
template <class N>
std::optional<N> digits(std::string_view text) {
  N number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || text[0] == '-' || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto year = digits<int>(text.substr(0, 4));
  const auto month = digits<unsigned>(text.substr(5, 2)), day = digits<unsigned>(text.substr(8, 2));
  return year && month && day &&
         std::chrono::year_month_day{std::chrono::year{*year}, std::chrono::month{*month}, std::chrono::day{*day}}.ok();
}

bool is_clock(std::string_view text, unsigned most_hours) {
  const auto hours = digits<unsigned>(text.substr(0, 2)), minutes = digits<unsigned>(text.substr(3, 2));
  return text[2] == ':' && hours && minutes && *hours <= most_hours && *minutes <= 59;
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, unsigned>, 5> units{
      {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"B", 0}}};
  for (const auto& [unit, shift] : units)
    if (text.ends_with(unit)) {
      const auto number = digits<std::uint64_t>(text.substr(0, text.size() - unit.size()));
      if (!number || *number > std::numeric_limits<std::uint64_t>::max() >> shift) return std::nullopt;
      return *number << shift;
    }
  return std::nullopt;
}

std::optional<Address> parse_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return std::nullopt;
  const auto port = digits<unsigned>(text.substr(colon + 1));
  std::string host(text.substr(0, colon));
  if (!port || *port > 65535) return std::nullopt;
  if (in_addr v4{}; ::inet_pton(AF_INET, host.c_str(), &v4) == 1)
    return Address{host, *port, (ntohl(v4.s_addr) >> 24) == 127};
  if (host.size() < 2 || host.front() != '[' || host.back() != ']') return std::nullopt;
  host = host.substr(1, host.size() - 2);
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) != 1) return std::nullopt;
  return Address{host, *port, IN6_IS_ADDR_LOOPBACK(&v6) != 0};
}

// RFC 3339, section 5.6.
bool is_date_or_time(std::string_view text) {
  if (text.size() == 10) return is_date(text);
  if (text.size() < 20 || !is_date(text.substr(0, 10)) || (text[10] != 'T' && text[10] != 't')) return false;
  text.remove_prefix(11);
  if (!is_clock(text, 23) || text[5] != ':' || digits<unsigned>(text.substr(6, 2)).value_or(99) > 60) return false;
  text.remove_prefix(8);
  if (text.starts_with('.')) {
    const std::size_t end = text.find_first_not_of("0123456789", 1);
    if (end == 1 || end == text.npos) return false;
    text.remove_prefix(end);
  }
  if (text == "Z" || text == "z") return true;
  return text.size() == 6 && (text[0] == '+' || text[0] == '-') && is_clock(text.substr(1), 23);
}

}  // namespace hatchd::config
