#include "base/table.hpp"

#include <algorithm>
#include <cstdio>

#include "hatch/json.hpp"

namespace hatchd {

namespace {

// Columns that a terminal shows: code points, which is right for all names but those in wide scripts.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string with_unit(double value, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, value < 10 ? "%.1f %s" : "%.0f %s", value, unit);
  return text;
}

}  // namespace

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = hatch::printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  std::string out;
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - width_of(row[i]) + 2, ' ');
    }
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
  }
  return out;
}

std::string short_duration(double seconds) {
  if (seconds < 1) return with_unit(seconds * 1000, "ms");
  if (seconds < 120) return with_unit(seconds, "s");
  if (seconds < 7200) return with_unit(seconds / 60, "min");
  return with_unit(seconds / 3600, "h");
}

std::string short_bytes(double bytes) {
  if (bytes < 1024) return with_unit(bytes, "B");
  if (bytes < 1024 * 1024) return with_unit(bytes / 1024, "KiB");
  if (bytes < 1024.0 * 1024 * 1024) return with_unit(bytes / (1024 * 1024), "MiB");
  return with_unit(bytes / (1024.0 * 1024 * 1024), "GiB");
}

}  // namespace hatchd
