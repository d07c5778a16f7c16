#include "stack/go/pclntab.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "stack/go/elf_file.hpp"

namespace stack::go {
namespace {

constexpr std::uint32_t magic_116 = 0xfffffffa, magic_118 = 0xfffffff0, magic_120 = 0xfffffff1;
constexpr std::size_t max_table = std::size_t{512} << 20, max_text = 4096;
constexpr std::size_t max_data = std::size_t{64} << 20;
constexpr int max_inlined = 100;  // at one address

// Fields of a record behind the entry address; behind them kind and flags, of which the last byte counts the pointers to
// data, then tables of values by address, then those pointers.
enum Field : unsigned {
  name_field = 0,
  pcsp_field = 3,
  pcfile_field = 4,
  pcln_field = 5,
  tables_field = 6,
  unit_field = 7
};
constexpr unsigned inline_index_table = 2, inline_tree_pointer = 3;

// The word of runtime.moduledata that says where data of functions begins (gofunc), and of its first words those that
// tell it from anything else: where parts of the table are.
constexpr std::size_t base_word_118 = 38, base_word_120 = 40;
constexpr std::size_t names_word = 1, units_word = 4, files_word = 7, values_word = 10, functions_word = 13;

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

const Elf64_Shdr* Table::section_of(const ElfFile& file) {
  const Elf64_Shdr* const section = file.section(".gopclntab");
  return section ? section : file.section(".data.rel.ro.gopclntab");  // position independent
}

std::optional<Table> Table::of(const ElfFile& file) {
  const Elf64_Shdr* const section = section_of(file);
  if (!section) return std::nullopt;
  auto content = file.read(*section, max_table);
  if (!content) return std::nullopt;
  const Elf64_Shdr* const text = file.section(".text");
  auto table = parse(std::move(*content), text ? text->sh_addr : 0);
  if (table)
    table->set_constants(
        [file](std::uint64_t address, std::span<std::byte> into) { return file.read_address(address, into); },
        table->relative_ ? table->find_base(file, section->sh_addr) : 0);
  return table;
}

void Table::set_constants(Constants constants, std::uint64_t base) {
  constants_ = std::move(constants);
  base_ = base;
}

// By moduledata, whose pointers lie ready in the file, but in a position independent program, where the loader makes
// them; else by the symbol.
std::uint64_t Table::find_base(const ElfFile& file, std::uint64_t own_address) const {
  const std::size_t base_word = magic_ == magic_118 ? base_word_118 : base_word_120;
  const Elf64_Shdr* section = file.section(".go.module");  // 1.26 and later
  if (!section) section = file.section(".noptrdata");
  const auto data = section ? file.read(*section, max_data) : std::nullopt;
  const std::array<std::uint64_t, 2> begin{own_address, own_address + names_};
  const std::string_view wanted{reinterpret_cast<const char*>(begin.data()), sizeof begin};
  for (std::size_t at = data ? data->find(wanted) : std::string::npos; at != std::string::npos;
       at = data->find(wanted, at + 1)) {
    const auto word = [&](std::size_t index) {
      std::uint64_t value = 0;
      if (const std::size_t from = at + 8 * index; from + 8 <= data->size())
        std::memcpy(&value, data->data() + from, sizeof value);
      return value;
    };
    if (word(names_word) == own_address + names_ && word(units_word) == own_address + units_ &&
        word(files_word) == own_address + files_ && word(values_word) == own_address + values_ &&
        word(functions_word) == own_address + functions_)
      return word(base_word);
  }
  constexpr std::array<std::string_view, 2> names{"go:func.*", "go.func.*"};
  for (const auto& symbol : file.symbols(names))
    if (symbol) return symbol->address;
  return 0;
}

std::optional<Table> Table::parse(std::string content, std::uint64_t text) {
  Table table;
  table.content_ = std::move(content);
  const auto magic = table.at<std::uint32_t>(0);
  const auto quantum = table.at<std::uint8_t>(6), pointer = table.at<std::uint8_t>(7);
  if (!magic || (*magic != magic_116 && *magic != magic_118 && *magic != magic_120) || !pointer || *pointer != 8 ||
      !quantum || *quantum == 0)
    return std::nullopt;
  table.magic_ = *magic;
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

std::uint64_t Table::record_of(std::uint64_t index) const {
  return functions_ + (relative_ ? at<std::uint32_t>(functions_ + 8 * index + 4).value_or(0)
                                 : at<std::uint64_t>(functions_ + 16 * index + 8).value_or(0));
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
  function.data = record_of(low);
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

std::uint64_t Table::head_size() const { return magic_ == magic_118 ? 40 : 44; }

std::uint8_t Table::kind_of(const Function& function) const {
  return at<std::uint8_t>(function.data + head_size() - 4).value_or(0);
}

std::uint8_t Table::kind_of_wrappers() const {
  std::uint8_t last = 0;
  for (std::uint64_t i = 0; i < count_; ++i) last = std::max(last, kind_of({{}, 0, record_of(i)}));
  return last;
}

std::uint64_t Table::inline_tree(const Function& function) const {
  if (!constants_) return 0;
  const std::uint64_t head = head_size();
  const std::uint64_t tables = field(function, tables_field);
  if (tables <= inline_index_table || at<std::uint8_t>(function.data + head - 1).value_or(0) <= inline_tree_pointer)
    return 0;
  std::uint64_t pointers = function.data + head + 4 * tables;
  if (!relative_) {
    pointers = (pointers + 7) & ~std::uint64_t{7};
    return at<std::uint64_t>(pointers + 8 * inline_tree_pointer).value_or(0);
  }
  const auto offset = at<std::uint32_t>(pointers + 4 * inline_tree_pointer);
  return offset && *offset != ~std::uint32_t{0} && base_ != 0 ? base_ + *offset : 0;
}

std::vector<Place> Table::places(const Function& function, std::uint64_t pc) const {
  std::vector<Place> all;
  const std::uint64_t tree = inline_tree(function), head = head_size();
  const std::uint32_t indices = tree ? at<std::uint32_t>(function.data + head + 4 * inline_index_table).value_or(0) : 0;
  // A call in the tree: what kind of function, (up to 1.19 its file and line,) its name, where its caller stands. Up to
  // 1.20 the number of its caller comes first.
  const bool newer = magic_ == magic_120;
  const std::uint64_t size = newer ? 16 : 20, name_at = newer ? 4 : 12;
  while (indices != 0 && all.size() < max_inlined) {
    const auto index = value(indices, function, pc);
    if (!index || *index < 0) break;
    std::array<std::uint32_t, 2> call{};
    if (!constants_(tree + size * static_cast<std::uint64_t>(*index) + name_at,
                    std::as_writable_bytes(std::span{call})))
      break;
    const std::string_view name = text_at(names_ + call[0]);
    if (name.empty()) break;
    all.push_back({name, line(function, pc), true, 0});
    pc = function.entry + call[1];
  }
  all.push_back({function.name, line(function, pc), false, kind_of(function)});
  return all;
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
