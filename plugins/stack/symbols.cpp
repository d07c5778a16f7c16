#include "stack/symbols.hpp"

#include <elfutils/libdwfl.h>

#include <algorithm>
#include <cstring>

#include "stack/demangle.hpp"
#include "stack/go/elf_file.hpp"
#include "stack/lines.hpp"

namespace stack {
namespace {

// Static symbol tables may hold "name@GLIBC_2.34" and "name@@GLIBC_2.34".
std::string_view without_version(std::string_view name) {
  const std::size_t at = name.find('@', 1);
  return at == name.npos ? name : name.substr(0, at);
}

// Names and lines from Go's own table. The last place is the function's that has the frame, the others are the functions
// that were inlined into it, innermost first.
std::vector<Frame> go_frames(const go::Table& table, const go::Function& function, std::uint64_t address,
                             Frame& frame) {
  std::vector<Frame> inlined;
  for (const go::Place& place : table.places(function, address)) {
    Frame& named = place.inlined ? inlined.emplace_back(frame) : frame;
    named.function = place.function;
    named.file = place.line.file;
    named.line = place.line.line;
    named.inlined = place.inlined;
  }
  return inlined;
}

}  // namespace

const go::Table* Symbols::go_table(const Module& module) {
  auto [entry, fresh] = go_.try_emplace(&module);
  if (fresh && module.file)
    if (const auto file = go::ElfFile::open(module.file.get())) entry->second = go::Table::of(*file);
  return entry->second ? &*entry->second : nullptr;
}

std::span<const std::uint32_t> Symbols::resolve(Address address) {
  auto& known = address.lookup == address.pc ? exact_ : callers_;
  auto [entry, fresh] = known.try_emplace(address.pc);
  std::vector<std::uint32_t>& indices = entry->second;
  if (!fresh) return indices;

  Frame frame;
  frame.offset = address.pc;
  std::vector<Frame> inlined;
  bool named_by_go = false;
  if (const Module* module = unwinder_.module_at(address.lookup)) {
    frame.in_module = true;
    frame.module = module->name();
    frame.offset = address.pc - module->low;
    cache::ModuleTable& table = tables_.of(*module);
    if (!table.has_symbols()) learner_.symbols(table);
    if (const auto bias = table.bias()) {
      const std::uint64_t linked = address.lookup - *bias;
      frame.offset = address.pc - *bias;
      if (const cache::Symbol* symbol = cache::find(table.symbols(), linked)) {
        const std::string name = table.name(*symbol);
        frame.function = demangle(without_version(name));
      }
      const go::Table* const go = table.is_go() ? go_table(*module) : nullptr;
      if (const auto function = go ? go->find(linked) : std::nullopt) {
        named_by_go = true;
        inlined = go_frames(*go, *function, linked, frame);
      }
    }
    if (lines_ && !named_by_go)
      if (Dwfl_Module* const dwfl_module = dwfl_addrmodule(unwinder_.dwfl(), address.lookup))
        inlined = add_lines(dwfl_module, address.lookup, frame);
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
