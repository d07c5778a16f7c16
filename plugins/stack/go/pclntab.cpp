#include "stack/go/pclntab.hpp"

#include <algorithm>
#include <cstring>

#include "stack/go/elf_file.hpp"

namespace stack::go {
namespace {

constexpr std::uint32_t magic_116 = 0xfffffffa, magic_118 = 0xfffffff0, magic_120 = 0xfffffff1;
constexpr std::size_t max_table = std::size_t{512} << 20, max_text = 4096;

// Fields of a record behind the entry address.
enum Field : unsigned { name_field = 0, pcsp_field = 3, pcfile_field = 4, pcln_field = 5, unit_field = 7 };

}  // namespace

template <class T>
std::optional<T> Table::at(std::uint64_t offset) const {
  if (offset > content_.size() || content_.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, content_.data() + offset, sizeof value);
  return value;
}

std::string_view Table::text_at(std::uint64_t offset) const {
  if (offset >= content_.size()) return {};
  const std::string_view rest = std::string_view{content_}.substr(offset, max_text);
  return rest.substr(0, rest.find('\0'));
}

std::optional<Table> Table::of(const ElfFile& file) {
  const Elf64_Shdr* section = file.section(".gopclntab");
  if (!section) section = file.section(".data.rel.ro.gopclntab");  // position independent
  if (!section) return std::nullopt;
  auto content = file.read(*section, max_table);
  if (!content) return std::nullopt;
  const Elf64_Shdr* const text = file.section(".text");
  return parse(std::move(*content), text ? text->sh_addr : 0);
}

std::optional<Table> Table::parse(std::string content, std::uint64_t text) {
  Table table;
  table.content_ = std::move(content);
  const auto magic = table.at<std::uint32_t>(0);
  const auto quantum = table.at<std::uint8_t>(6), pointer = table.at<std::uint8_t>(7);
  if (!magic || (*magic != magic_116 && *magic != magic_118 && *magic != magic_120) || !pointer || *pointer != 8 ||
      !quantum || *quantum == 0)
    return std::nullopt;
  table.relative_ = *magic != magic_116;
  table.quantum_ = *quantum;
  const auto word = [&](unsigned index) { return table.at<std::uint64_t>(8 + 8 * index).value_or(0); };
  table.count_ = word(0);
  unsigned next = 2;
  if (table.relative_) table.text_ = word(next++);
  if (table.text_ == 0) table.text_ = text;
  table.names_ = word(next++);
  table.units_ = word(next++);
  table.files_ = word(next++);
  table.values_ = word(next++);
  table.functions_ = word(next);
  const std::uint64_t entry = table.relative_ ? 8 : 16, size = table.content_.size();
  if (table.functions_ >= size || table.count_ == 0 || table.count_ > (size - table.functions_) / entry ||
      table.names_ >= size || table.units_ >= size || table.files_ >= size || table.values_ >= size)
    return std::nullopt;
  return table;
}

std::uint64_t Table::entry_of(std::uint64_t index) const {
  if (relative_) return text_ + at<std::uint32_t>(functions_ + 8 * index).value_or(0);
  return at<std::uint64_t>(functions_ + 16 * index).value_or(0);
}

std::optional<Function> Table::find(std::uint64_t pc) const {
  // The last that begins at or before pc; behind the last one stands where code ends.
  std::uint64_t low = 0, high = count_;
  if (pc < entry_of(0) || pc >= entry_of(count_)) return std::nullopt;
  while (high - low > 1) {
    const std::uint64_t middle = low + (high - low) / 2;
    (entry_of(middle) <= pc ? low : high) = middle;
  }
  Function function;
  function.entry = entry_of(low);
  function.data = functions_ + (relative_ ? at<std::uint32_t>(functions_ + 8 * low + 4).value_or(0)
                                          : at<std::uint64_t>(functions_ + 16 * low + 8).value_or(0));
  function.name = text_at(names_ + field(function, name_field));
  return function.name.empty() ? std::nullopt : std::optional{function};
}

std::uint32_t Table::field(const Function& function, unsigned index) const {
  return at<std::uint32_t>(function.data + (relative_ ? 4 : 8) + 4 * index).value_or(0);
}

// Tables of values by address: pairs of a signed difference of the value and an unsigned one of the address.
std::optional<std::int32_t> Table::value(std::uint64_t offset, const Function& function, std::uint64_t pc) const {
  if (offset == 0) return std::nullopt;
  std::uint64_t next = values_ + offset, address = function.entry;
  const auto number = [&]() -> std::optional<std::uint32_t> {
    std::uint32_t result = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
      const auto byte = at<std::uint8_t>(next++);
      if (!byte) return std::nullopt;
      result |= static_cast<std::uint32_t>(*byte & 0x7f) << shift;
      if (!(*byte & 0x80)) return result;
    }
    return std::nullopt;
  };
  std::uint32_t current = ~std::uint32_t{0};
  for (bool first = true;; first = false) {
    const auto change = number();
    if (!change || (*change == 0 && !first)) return std::nullopt;
    current += *change & 1 ? ~(*change >> 1) : *change >> 1;
    const auto distance = number();
    if (!distance) return std::nullopt;
    address += std::uint64_t{*distance} * quantum_;
    if (pc < address) return static_cast<std::int32_t>(current);
  }
}

Line Table::line(const Function& function, std::uint64_t pc) const {
  Line line;
  line.line = std::max(0, value(field(function, pcln_field), function, pc).value_or(0));
  if (const auto number = value(field(function, pcfile_field), function, pc); number && *number >= 0) {
    const std::uint64_t unit = field(function, unit_field);
    const auto file = at<std::uint32_t>(units_ + 4 * (unit + static_cast<std::uint64_t>(*number)));
    if (file && *file != ~std::uint32_t{0}) line.file = text_at(files_ + *file);
  }
  return line;
}

std::optional<std::int32_t> Table::frame_size(const Function& function, std::uint64_t pc) const {
  return value(field(function, pcsp_field), function, pc);
}

}  // namespace stack::go
