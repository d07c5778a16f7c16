#include "stack/python/lines.hpp"

namespace stack::python {
namespace {

// Lines are added up in 64 bits and wrap nowhere: a table of a megabyte moves them by less than 2^52.
int line_number(std::int64_t line) { return line > 0 && line <= INT32_MAX ? static_cast<int>(line) : 0; }

int from_lnotab(std::string_view table, int first_line, std::int64_t at) {
  std::int64_t line = first_line, address = 0;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    address += static_cast<unsigned char>(table[i]);
    if (address > at) break;
    line += static_cast<signed char>(table[i + 1]);
  }
  return line_number(line);
}

int from_linetable(std::string_view table, int first_line, std::int64_t at) {
  constexpr signed char no_line = -128;
  std::int64_t line = first_line, end = 0;
  for (std::size_t i = 0; i + 1 < table.size(); i += 2) {
    end += static_cast<unsigned char>(table[i]);
    const auto delta = static_cast<signed char>(table[i + 1]);
    if (delta != no_line) line += delta;
    if (at < end) return delta == no_line ? 0 : line_number(line);
  }
  return first_line;
}

// Integers in groups of six bits, least significant first; bit 6 says that more follow. Signed: the lowest bit is the
// sign.
class Groups {
 public:
  Groups(std::string_view table, std::size_t at) : table_(table), at_(at) {}
  std::uint64_t next() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; at_ < table_.size(); shift += 6) {
      const auto byte = static_cast<unsigned char>(table_[at_++]);
      if (shift < 36) value |= std::uint64_t{byte & 0x3FU} << shift;
      if (!(byte & 0x40)) break;
    }
    return value;
  }
  std::int64_t next_signed() {
    const std::uint64_t value = next();
    const auto magnitude = static_cast<std::int64_t>(value >> 1);
    return value & 1 ? -magnitude : magnitude;
  }

 private:
  std::string_view table_;
  std::size_t at_;
};

int from_locations(std::string_view table, int first_line, std::int64_t at) {
  constexpr std::int64_t unit = 2;  // bytes of a code unit
  std::int64_t line = first_line, end = 0;
  for (std::size_t i = 0; i < table.size();) {
    const auto head = static_cast<unsigned char>(table[i]);
    const unsigned code = head >> 3 & 15;
    const bool none = code == 15;
    if (code == 13 || code == 14)
      line += Groups{table, i + 1}.next_signed();
    else if (code >= 10 && code <= 12)
      line += code - 10;
    end += ((head & 7) + 1) * unit;
    if (at < end) return none ? 0 : line_number(line);
    // The first byte of an entry has the highest bit set, and no other byte has.
    for (++i; i < table.size() && !(static_cast<unsigned char>(table[i]) & 0x80);) ++i;
  }
  return first_line;
}

}  // namespace

int line_of(Lines format, std::string_view table, int first_line, std::int64_t at) {
  if (at < 0) return line_number(first_line);
  switch (format) {
    case Lines::lnotab: return from_lnotab(table, first_line, at);
    case Lines::linetable: return from_linetable(table, first_line, at);
    case Lines::locations: return from_locations(table, first_line, at);
  }
  return 0;
}

}  // namespace stack::python
