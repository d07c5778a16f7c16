#include "metrics/time.hpp"

#include <charconv>
#include <ctime>
#include <string>

namespace hatchd::metrics {

std::optional<double> unix_seconds(std::string_view rfc3339) {
  constexpr std::size_t length = std::string_view("2026-11-23T14:40:44.123Z").size();
  const std::string text(rfc3339);
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  int ms = 0;
  if (!rest || *rest != '.' || text.size() != length || text.back() != 'Z') return std::nullopt;
  const auto [end, error] = std::from_chars(rest + 1, rest + 4, ms);
  if (error != std::errc() || end != rest + 4) return std::nullopt;
  return static_cast<double>(::timegm(&parts)) + static_cast<double>(ms) / 1000;
}

}  // namespace hatchd::metrics
