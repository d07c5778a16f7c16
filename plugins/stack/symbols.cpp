#include "stack/symbols.hpp"

#include <elfutils/libdwfl.h>

#include <algorithm>
#include <cstring>

#include "stack/demangle.hpp"
#include "stack/go/elf_file.hpp"
#include "stack/lines.hpp"

namespace stack {
namespace {

constexpr int max_symbols = 4'000'000;  // of one module

// A library's public name says more than the aliases that its own code uses: "poll" before "__poll" and "__GI___poll".
int rank_of(const char* name, unsigned char info) {
  int underscores = 0;
  while (underscores < 3 && name[underscores] == '_') ++underscores;
  return (GELF_ST_BIND(info) != STB_LOCAL ? 4 : 0) + 3 - underscores;
}

// Static symbol tables may hold "name@GLIBC_2.34" and "name@@GLIBC_2.34".
std::string_view without_version(std::string_view name) {
  const std::size_t at = name.find('@', 1);
  return at == name.npos ? name : name.substr(0, at);
}

}  // namespace

const Symbols::Table& Symbols::table(const Module& module, void* opaque) {
  auto [entry, fresh] = tables_.try_emplace(&module);
  Table& table = entry->second;
  if (!fresh) return table;
  auto* const dwfl_module = static_cast<Dwfl_Module*>(opaque);
  GElf_Addr bias = 0;
  if (!dwfl_module_getelf(dwfl_module, &bias)) return table;
  table.bias = bias;
  if (const auto file = module.file ? go::ElfFile::open(module.file.get()) : std::nullopt)
    table.go = go::Table::of(*file);
  const int count = std::min(dwfl_module_getsymtab(dwfl_module), max_symbols);
  for (int i = 1; i < count; ++i) {
    GElf_Sym symbol;
    GElf_Addr address = 0;
    GElf_Word section = SHN_UNDEF;
    const char* const name = dwfl_module_getsym_info(dwfl_module, i, &symbol, &address, &section, nullptr, nullptr);
    if (!name || !*name || section == SHN_UNDEF || symbol.st_size == 0) continue;
    const auto type = GELF_ST_TYPE(symbol.st_info);
    if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) continue;
    // A symbol that does not lie in its module is a lie.
    if (address < module.low || address >= module.high) continue;
    const std::uint64_t end = address + std::min<std::uint64_t>(symbol.st_size, module.high - address);
    table.symbols.push_back({address, end, name, rank_of(name, symbol.st_info)});
  }
  std::sort(table.symbols.begin(), table.symbols.end(),
            [](const Symbol& a, const Symbol& b) { return a.start != b.start ? a.start < b.start : a.rank < b.rank; });
  return table;
}

// The last symbol that begins at or before the address and covers it. Without that last condition a stripped library
// gives everything between two exported functions the name of the first.
const Symbols::Symbol* Symbols::find(const Table& table, std::uint64_t address) {
  auto at = std::upper_bound(table.symbols.begin(), table.symbols.end(), address,
                             [](std::uint64_t a, const Symbol& s) { return a < s.start; });
  for (int tries = 0; tries < 8 && at != table.symbols.begin(); ++tries) {
    --at;
    if (address < at->end) return &*at;
  }
  return nullptr;
}

std::span<const std::uint32_t> Symbols::resolve(Address address) {
  auto& known = address.lookup == address.pc ? exact_ : callers_;
  auto [entry, fresh] = known.try_emplace(address.pc);
  std::vector<std::uint32_t>& indices = entry->second;
  if (!fresh) return indices;

  Frame frame;
  frame.offset = address.pc;
  std::vector<Frame> inlined;
  if (const Module* module = unwinder_.module_at(address.lookup)) {
    frame.in_module = true;
    frame.module = module->name();
    frame.offset = address.pc - module->low;
    if (Dwfl_Module* const dwfl_module = dwfl_addrmodule(unwinder_.dwfl(), address.lookup)) {
      const Table& table = this->table(*module, dwfl_module);
      if (!table.symbols.empty() || table.bias) frame.offset = address.pc - table.bias;
      if (const Symbol* symbol = find(table, address.lookup))
        frame.function = demangle(without_version({symbol->name, ::strnlen(symbol->name, demangled_limit)}));
      const std::uint64_t linked = address.lookup - table.bias;
      if (const auto function = table.go ? table.go->find(linked) : std::nullopt) {
        const go::Line line = table.go->line(*function, linked);
        frame.function = function->name;
        frame.file = line.file;
        frame.line = line.line;
      }
      if (lines_) inlined = add_lines(dwfl_module, address.lookup, frame);
    }
  }
  if (!frame.in_module) frame.function = perf_map_.find(address.lookup);
  for (Frame& inner : inlined) {
    indices.push_back(static_cast<std::uint32_t>(frames_.size()));
    frames_.push_back(std::move(inner));
  }
  indices.push_back(static_cast<std::uint32_t>(frames_.size()));
  frames_.push_back(std::move(frame));
  return indices;
}

}  // namespace stack
