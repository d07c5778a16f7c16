#include "stack/lines.hpp"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

#include <cstdlib>

#include "stack/demangle.hpp"

namespace stack {
namespace {

constexpr int max_inlined = 32;  // at one address

struct Free {
  void operator()(Dwarf_Die* scopes) const { std::free(scopes); }
};
using Scopes = std::unique_ptr<Dwarf_Die, Free>;

std::string name_of(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  for (const unsigned kind : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (dwarf_attr_integrate(die, kind, &attribute))
      if (const char* name = dwarf_formstring(&attribute)) return demangle(name);
  const char* const name = dwarf_diename(die);
  return name ? std::string(std::string_view{name}.substr(0, demangled_limit)) : std::string{};
}

// Where the function that `inlined` stands for was called.
void call_site(Dwarf_Die* unit, Dwarf_Die* inlined, Frame& frame) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  frame.line = 0;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &value) == 0 && value < 100'000'000)
    frame.line = static_cast<int>(value);
  Dwarf_Files* files = nullptr;
  std::size_t count = 0;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &value) == 0 &&
      dwarf_getsrcfiles(unit, &files, &count) == 0 && value < count)
    if (const char* file = dwarf_filesrc(files, value, nullptr, nullptr)) frame.file = file;
}

}  // namespace

std::vector<Frame> add_lines(Dwfl_Module* module, std::uint64_t address, Frame& frame) {
  std::vector<Frame> inner;
  if (Dwfl_Line* const line = dwfl_module_getsrc(module, address)) {
    int number = 0;
    if (const char* file = dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr)) {
      frame.file = file;
      frame.line = number;
    }
  }
  Dwarf_Addr bias = 0;
  Dwarf_Die* const unit = dwfl_module_addrdie(module, address, &bias);
  if (!unit) return inner;
  // dwarf_getscopes leads from an inlined function into its abstract definition; the scopes of that one's die lead on
  // through the callers (libdw.h).
  Dwarf_Die* raw = nullptr;
  int count = dwarf_getscopes(unit, address - bias, &raw);
  const Scopes by_address{raw};
  Dwarf_Die innermost{};
  bool found = false;
  for (int i = 0; i < count && !found; ++i) {
    const int tag = dwarf_tag(&by_address.get()[i]);
    if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
    innermost = by_address.get()[i];
    found = true;
  }
  if (!found || dwarf_tag(&innermost) != DW_TAG_inlined_subroutine) return inner;
  raw = nullptr;
  count = dwarf_getscopes_die(&innermost, &raw);
  const Scopes by_die{raw};
  // The line table gave the place in the innermost function; each call site is the place in the next one out.
  Frame place = frame;
  for (int i = 0; i < count && inner.size() < max_inlined; ++i) {
    Dwarf_Die* const die = &by_die.get()[i];
    if (dwarf_tag(die) == DW_TAG_subprogram) break;
    if (dwarf_tag(die) != DW_TAG_inlined_subroutine) continue;
    Frame& function = inner.emplace_back(place);
    function.function = name_of(die);
    function.inlined = true;
    call_site(unit, die, place);
  }
  frame.file = place.file;
  frame.line = place.line;
  return inner;
}

}  // namespace stack
