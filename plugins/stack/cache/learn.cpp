#include "stack/cache/learn.hpp"

#include <dwarf.h>
#include <elfutils/libdwfl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "stack/demangle.hpp"
#include "stack/go/elf_file.hpp"

namespace stack::cache {
namespace {

constexpr int max_symbols = 4'000'000;             // of one module
constexpr std::uint64_t max_names = 256ULL << 20;  // bytes, of one module
constexpr unsigned max_rounds = 4096;              // of one stack: a rule is learned in each

using Frame = std::unique_ptr<Dwarf_Frame, decltype(&std::free)>;

// "register + offset" or nothing.
bool is_simple_cfa(const Dwarf_Op* ops, std::size_t count, Rule& rule) {
  if (count != 1) return false;
  Dwarf_Word number = 0;
  Dwarf_Sword offset = 0;
  if (ops->atom == DW_OP_bregx) {
    number = ops->number;
    offset = static_cast<Dwarf_Sword>(ops->number2);
  } else if (ops->atom >= DW_OP_breg0 && ops->atom <= DW_OP_breg31) {
    number = ops->atom - DW_OP_breg0;
    offset = static_cast<Dwarf_Sword>(ops->number);
  } else {
    return false;
  }
  if (number >= Registers::count || offset < INT32_MIN || offset > INT32_MAX) return false;
  rule.cfa_register = static_cast<std::uint8_t>(number);
  rule.cfa_offset = static_cast<std::int32_t>(offset);
  return true;
}

// Where the caller's value of a register is; nullopt: it takes an expression. `undefined`: the rules say that there is
// none.
std::optional<std::int16_t> place_of(Dwarf_Frame* frame, int number, bool& undefined) {
  Dwarf_Op memory[3];
  Dwarf_Op* ops = nullptr;
  std::size_t count = 0;
  undefined = false;
  if (dwarf_frame_register(frame, number, memory, &ops, &count) != 0) return std::nullopt;
  if (count == 0) {
    undefined = ops != nullptr;
    return undefined ? Rule::lost : Rule::same;
  }
  if (ops[0].atom != DW_OP_call_frame_cfa) return std::nullopt;
  if (count == 1) return 0;
  const auto offset = static_cast<Dwarf_Sword>(ops[1].number);
  if (count != 2 || ops[1].atom != DW_OP_plus_uconst || offset <= Rule::lost || offset > INT16_MAX) return std::nullopt;
  return static_cast<std::int16_t>(offset);
}

// The caller's stack pointer is the CFA (DWARF 6.4.1), but where the rules say otherwise.
bool moves_sp_alone(Dwarf_Frame* frame) {
  Dwarf_Op memory[3];
  Dwarf_Op* ops = nullptr;
  std::size_t count = 0;
  if (dwarf_frame_register(frame, Registers::sp_number, memory, &ops, &count) != 0) return true;
  return count != 0 && !(count == 2 && ops[0].atom == DW_OP_call_frame_cfa && ops[1].atom == DW_OP_stack_value);
}

// A rule for as far as it reaches around `address`. Both are as the CFI has them.
Rule rule_of(Dwarf_CFI* cfi, std::uint64_t address, bool& found) {
  Rule rule;
  rule.start = address;
  rule.size = 1;
  rule.flags = Rule::library;
  Dwarf_Frame* raw = nullptr;
  if (!cfi || dwarf_cfi_addrframe(cfi, address, &raw) != 0) return rule;
  const Frame frame{raw, &std::free};
  found = true;
  Dwarf_Addr start = 0, end = 0;
  bool signal = false;
  const int return_column = dwarf_frame_info(raw, &start, &end, &signal);
  if (return_column < 0 || start > address || address >= end) return rule;
  if (end - start > UINT32_MAX) return rule;
  rule.start = start;
  rule.size = static_cast<std::uint32_t>(end - start);
  if (signal) return rule;

  Rule simple = rule;
  simple.flags = 0;
  bool undefined = false;
  const auto return_address = place_of(raw, return_column, undefined);
  if (undefined) {
    simple.flags = Rule::outermost;
    return simple;
  }
  Dwarf_Op* ops = nullptr;
  std::size_t count = 0;
  if (!return_address || (*return_address == Rule::same && return_column != static_cast<int>(return_register)) ||
      dwarf_frame_cfa(raw, &ops, &count) != 0 || !is_simple_cfa(ops, count, simple) || moves_sp_alone(raw))
    return rule;
  simple.return_address = *return_address;
  for (std::size_t i = 0; i < kept_registers.size(); ++i) {
    const auto place = place_of(raw, kept_registers[i], undefined);
    if (!place) return rule;
    simple.kept[i] = *place;
  }
  return simple;
}

// Where the runtime's own traces end, since nobody called them or the stack behind them is another one (topofstack() in
// src/runtime/traceback.go; systemstack goes from the goroutine's stack to the thread's).
constexpr std::array<std::string_view, 6> go_ends{"runtime.goexit", "runtime.mstart",    "runtime.mcall",
                                                  "runtime.rt0_go", "runtime.morestack", "runtime.systemstack"};
// What the kernel calls, and what goes from one stack to the other in the middle: not to be told by a size.
constexpr std::array<std::string_view, 4> go_exceptions{"runtime.sigreturn", "runtime.sigreturn__sigaction",
                                                        "runtime.cgocallback", "runtime.asmcgocall"};

// By Go's own table, which also a stripped program has, where .debug_frame is gone: as the runtime unwinds, without a
// register but the stack pointer. `address` as the file has it.
std::optional<Rule> go_rule(const go::Table& table, std::uint64_t address) {
  if (return_register < Registers::count)
    return std::nullopt;  // aarch64: where the link register is takes more than a size
  const auto function = table.find(address);
  if (!function || std::count(go_exceptions.begin(), go_exceptions.end(), function->name) > 0) return std::nullopt;
  Rule rule;
  rule.start = address;
  rule.size = 1;
  if (std::count(go_ends.begin(), go_ends.end(), function->name) > 0) {
    rule.flags = Rule::outermost;
    return rule;
  }
  const auto size = table.frame_size(*function, address);
  if (!size || *size < 0 || *size > INT32_MAX - 8) return std::nullopt;
  rule.cfa_register = Registers::sp_number;
  rule.cfa_offset = *size + 8;
  rule.return_address = -8;
  rule.kept.fill(Rule::lost);
  return rule;
}

// A library's public name says more than the aliases that its own code uses: "poll" before "__poll" and "__GI___poll".
int rank_of(const char* name, unsigned char info) {
  int underscores = 0;
  while (underscores < 3 && name[underscores] == '_') ++underscores;
  return (GELF_ST_BIND(info) != STB_LOCAL ? 4 : 0) + 3 - underscores;
}

struct Named {
  Symbol symbol;
  unsigned char info;
};

// What becomes of a module's symbols.
class Collected {
 public:
  // `name`: where it is in the names. What names no code of the module is left out.
  bool add(const Module& module, const GElf_Sym& symbol, std::uint64_t address, std::uint64_t bias,
           std::uint64_t name) {
    const auto type = GELF_ST_TYPE(symbol.st_info);
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_size == 0 || name > UINT32_MAX ||
        (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE))
      return false;
    // A symbol that does not lie in its module is a lie.
    if (address < module.low || address >= module.high) return false;
    const std::uint64_t size = std::min<std::uint64_t>({symbol.st_size, module.high - address, UINT32_MAX});
    found_.push_back(
        {{address - bias, static_cast<std::uint32_t>(size), static_cast<std::uint32_t>(name)}, symbol.st_info});
    return true;
  }
  void reserve(std::size_t count) { found_.reserve(count); }

  // Of several names at one address the one of the highest rank comes last, and is shown. The names of all others are
  // not touched, which are megabytes.
  std::vector<Symbol> sorted(const char* names) {
    std::sort(found_.begin(), found_.end(), [names](const Named& a, const Named& b) {
      if (a.symbol.start != b.symbol.start) return a.symbol.start < b.symbol.start;
      return rank_of(names + a.symbol.name, a.info) < rank_of(names + b.symbol.name, b.info);
    });
    std::vector<Symbol> symbols;
    symbols.reserve(found_.size());
    for (const auto& [symbol, info] : found_) {
      const bool alias = !symbols.empty() && symbols.back().start == symbol.start && symbols.back().size == symbol.size;
      if (alias) symbols.pop_back();
      symbols.push_back(symbol);
    }
    return symbols;
  }

 private:
  std::vector<Named> found_;
};

// The file's own static symbols, whose names stay where they are: a hundred thousand of them are read in milliseconds.
// The library's way of asking for one after the other takes ten times as long.
std::optional<std::vector<Symbol>> collect_static(Elf* elf, const Module& module, std::uint64_t bias,
                                                  FileNames& names) {
  Elf_Scn* section = nullptr;
  GElf_Shdr header;
  do {
    section = elf_nextscn(elf, section);
    if (!section || !gelf_getshdr(section, &header)) return std::nullopt;
  } while (header.sh_type != SHT_SYMTAB);
  Elf_Scn* const text = elf_getscn(elf, header.sh_link);
  GElf_Shdr text_header;
  if (!text || !gelf_getshdr(text, &text_header) || text_header.sh_type != SHT_STRTAB ||
      ((header.sh_flags | text_header.sh_flags) & SHF_COMPRESSED) != 0)
    return std::nullopt;
  Elf_Data* const symbols = elf_getdata(section, nullptr);
  Elf_Data* const strings = elf_getdata(text, nullptr);
  if (!symbols || !strings || !strings->d_buf || strings->d_size == 0) return std::nullopt;
  const std::string_view all{static_cast<const char*>(strings->d_buf), strings->d_size};
  if (all.back() != '\0') return std::nullopt;
  const int count = static_cast<int>(std::min<std::uint64_t>(symbols->d_size / sizeof(Elf64_Sym), max_symbols));
  Collected collected;
  collected.reserve(static_cast<std::size_t>(count));
  for (int i = 1; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(symbols, i, &symbol) && symbol.st_name != 0 && symbol.st_name < all.size())
      collected.add(module, symbol, symbol.st_value + bias, bias, symbol.st_name);
  }
  names = {text_header.sh_offset, all.size()};
  return collected.sorted(all.data());
}

// Those that the library finds: in separate debug files, in MiniDebugInfo, or the exported ones.
std::vector<Symbol> collect_found(Dwfl_Module* dwfl_module, const Module& module, std::uint64_t bias,
                                  std::string& names) {
  Collected collected;
  const int count = std::min(dwfl_module_getsymtab(dwfl_module), max_symbols);
  for (int i = 1; i < count && names.size() < max_names; ++i) {
    GElf_Sym symbol;
    GElf_Addr address = 0;
    GElf_Word section = SHN_UNDEF;
    const char* const name = dwfl_module_getsym_info(dwfl_module, i, &symbol, &address, &section, nullptr, nullptr);
    if (!name || !*name || section == SHN_UNDEF || !collected.add(module, symbol, address, bias, names.size()))
      continue;
    names.append(name, ::strnlen(name, demangled_limit));
    names += '\0';
  }
  return collected.sorted(names.data());
}

}  // namespace

void Learner::rule(std::uint64_t address) {
  ModuleTable* const table = tables_.at(address);
  Dwfl_Module* const module = table ? dwfl_addrmodule(unwinder_.dwfl(), address) : nullptr;
  GElf_Addr bias = 0;
  if (!module || !dwfl_module_getelf(module, &bias)) return tables_.leave_to_library(address);
  table->set_bias(bias);
  if (const go::Table* const go = go_table(*table))
    if (const auto rule = go_rule(*go, address - bias)) return table->add(*rule);
  // In the library's order; each has a bias of its own.
  bool found = false;
  Dwarf_Addr cfi_bias = 0;
  Dwarf_CFI* cfi = dwfl_module_eh_cfi(module, &cfi_bias);
  if (!cfi) cfi_bias = 0;
  Rule rule = rule_of(cfi, address - cfi_bias, found);
  if (!found) {
    cfi = dwfl_module_dwarf_cfi(module, &cfi_bias);
    if (!cfi) cfi_bias = 0;
    rule = rule_of(cfi, address - cfi_bias, found);
  }
  rule.start += cfi_bias - *table->bias();
  table->add(rule);
  for (const std::string& path : unwinder_.debug_files(table->module())) table->add_witness(path);
}

const go::Table* Learner::go_table(const ModuleTable& table) {
  const auto [at, fresh] = go_tables_.try_emplace(&table);
  if (const Module& module = table.module(); fresh && module.file)
    if (const auto file = go::ElfFile::open(module.file.get())) at->second = go::Table::of(*file);
  return at->second ? &*at->second : nullptr;
}

void Learner::symbols(ModuleTable& table) {
  const Module& module = table.module();
  Dwfl_Module* const dwfl_module = dwfl_addrmodule(unwinder_.dwfl(), module.low);
  GElf_Addr bias = 0;
  Elf* const elf = dwfl_module ? dwfl_module_getelf(dwfl_module, &bias) : nullptr;
  if (!elf) return table.set_symbols({}, {}, {}, false);
  table.set_bias(bias);
  std::string names;
  FileNames file_names;
  auto symbols = module.file ? collect_static(elf, module, bias, file_names) : std::nullopt;
  if (!symbols) symbols = collect_found(dwfl_module, module, bias, names);
  table.set_symbols(std::move(*symbols), std::move(names), file_names, go_table(table) != nullptr);
  for (const std::string& path : unwinder_.debug_files(module)) table.add_witness(path);
}

Walk walk_learning(Tables& tables, Learner& learner, const ThreadCopy& thread, unsigned max_frames) {
  for (unsigned round = 0;; ++round) {
    Walk walked = walk(tables, thread, max_frames);
    if (walked.end != Walked::unknown) return walked;
    if (round == max_rounds) return {};
    learner.rule(walked.unknown);
  }
}

}  // namespace stack::cache
