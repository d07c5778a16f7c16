#include "stack/go/layout.hpp"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <charconv>
#include <cstring>
#include <memory>

namespace stack::go {
namespace {

constexpr int max_units = 100'000, max_entries = 1'000'000;

bool has_name(Dwarf_Die* die, const char* name) {
  const char* const own = dwarf_diename(die);
  return own && std::strcmp(own, name) == 0;
}

unsigned member(Dwarf_Die* structure, const char* name) {
  Dwarf_Die child;
  if (dwarf_child(structure, &child) != 0) return 0;
  for (int count = 0; count < 1000; ++count) {
    if (has_name(&child, name)) {
      Dwarf_Attribute attribute;
      Dwarf_Word offset = 0;
      if (dwarf_attr(&child, DW_AT_data_member_location, &attribute) && dwarf_formudata(&attribute, &offset) == 0 &&
          offset < 4096)
        return static_cast<unsigned>(offset);
      return 0;
    }
    if (dwarf_siblingof(&child, &child) != 0) break;
  }
  return 0;
}

std::optional<Layout> from_debug_information(int fd) {
  const std::unique_ptr<Dwarf, int (*)(Dwarf*)> dwarf{dwarf_begin(fd, DWARF_C_READ), &dwarf_end};
  if (!dwarf) return std::nullopt;
  Layout layout;
  bool g = false, m = false;
  Dwarf_Off offset = 0, next = 0;
  std::size_t header = 0;
  for (int unit = 0;
       unit < max_units && dwarf_nextcu(dwarf.get(), offset, &next, &header, nullptr, nullptr, nullptr) == 0;
       ++unit, offset = next) {
    Dwarf_Die die, entry;
    if (!dwarf_offdie(dwarf.get(), offset + header, &die) || !has_name(&die, "runtime") ||
        dwarf_child(&die, &entry) != 0)
      continue;
    for (int count = 0; count < max_entries && !(g && m); ++count) {
      if (dwarf_tag(&entry) == DW_TAG_structure_type) {
        if (!g && has_name(&entry, "runtime.g")) {
          g = true;
          layout.status = member(&entry, "atomicstatus");
          layout.id = member(&entry, "goid");
          layout.wait_reason = member(&entry, "waitreason");
          layout.created_by = member(&entry, "gopc");
          layout.start = member(&entry, "startpc");
          layout.locked = member(&entry, "lockedm");
        } else if (!m && has_name(&entry, "runtime.m")) {
          m = true;
          layout.thread = member(&entry, "procid");
        }
      }
      if (dwarf_siblingof(&entry, &entry) != 0) break;
    }
  }
  return g && layout.status && layout.id ? std::optional{layout} : std::nullopt;
}

}  // namespace

int minor_version(std::string_view version) {
  int minor = 0;
  if (version.starts_with("go1.")) std::from_chars(version.data() + 4, version.data() + version.size(), minor);
  return minor;
}

// src/runtime/runtime2.go: the same up to waitreason from 1.16 to 1.22, then syscallbp came in between.
bool knows_layout(int minor) { return minor >= 16 && minor <= 22; }

std::optional<Layout> layout_of(int fd, std::string_view version) {
  if (const auto known = from_debug_information(fd)) return known;
  const int minor = minor_version(version);
  if (!knows_layout(minor)) return std::nullopt;
  Layout layout{.status = 144, .id = 152, .wait_reason = 176, .thread = 72};
  if (minor == 19) {
    layout.created_by = 296;
    layout.start = 312;
  }
  return layout;
}

}  // namespace stack::go
