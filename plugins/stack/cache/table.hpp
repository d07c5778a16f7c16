// What is costly to learn of a program or library: how to step from an address to its caller, and the sorted symbols.
//
// A table is one block of memory in the layout of its file, so that a mapped file needs no reading: Header, rules,
// symbols, witnesses, names. It is not trusted: parse() checks that the parts lie within it and the checksum, and each
// look-up stays within its bounds whatever the numbers say. Addresses are the file's own, without the place of loading.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stack/arch.hpp"
#include "stack/cache/identity.hpp"

namespace stack::cache {

// How to find the caller's registers from those at any address in [start, start + size).
struct Rule {
  enum Flag : std::uint8_t {
    outermost = 1,  // nobody called
    library = 2,    // it takes more than a rule can say: an expression, frame pointers, a signal's frame
  };
  enum : std::int16_t { same = INT16_MIN, lost };  // else: saved at this offset from the CFA

  std::uint64_t start = 0;
  std::uint32_t size = 0;
  std::int32_t cfa_offset = 0;    // CFA = register + offset (DWARF 6.4)
  std::uint8_t cfa_register = 0;  // DWARF's number
  std::uint8_t flags = 0;
  std::int16_t return_address = lost;
  std::array<std::int16_t, kept_slots> kept{};  // as kept_registers
};
static_assert(sizeof(Rule) == 20 + 2 * kept_slots && sizeof(Rule) % 8 == 0);

struct Symbol {
  std::uint64_t start = 0;
  std::uint32_t size = 0;
  std::uint32_t name = 0;  // offset into the names, of the table or of the file
};

// A string table of the module's own file, whose names need no copy. Nothing: the names are in the table.
struct FileNames {
  std::uint64_t at = 0, size = 0;
};

// A separate debug file that was looked for. When another is there now, or one at all, the table no longer holds.
struct Witness {
  std::uint64_t device = 0, inode = 0, size = 0;  // zeros: there was none
  std::int64_t modified_ns = 0;
  std::uint32_t path = 0;  // offset into the names
  std::uint32_t reserved = 0;
};

// What write_table() makes a table of.
struct Content {
  std::uint64_t first_page = 0;  // the file's own address of what is mapped first
  bool has_symbols = false;      // they were looked up, if only to find none
  bool is_go = false;            // and has a table of its own for names
  std::vector<Rule> rules;       // sorted by start, none within another
  std::vector<Symbol> symbols;   // sorted by start
  FileNames file_names;          // of the symbols
  std::vector<Witness> witnesses;
  std::string names;  // each ends with a zero byte
};

class Table {
 public:
  // A view of `bytes`, which begin at a multiple of eight. nullopt: damaged, of another version or another file.
  static std::optional<Table> parse(std::span<const std::byte> bytes, const Identity& identity);

  std::uint64_t first_page() const { return first_page_; }
  bool has_symbols() const { return has_symbols_; }
  bool is_go() const { return is_go_; }
  std::span<const Rule> rules() const { return rules_; }
  std::span<const Symbol> symbols() const { return symbols_; }
  std::span<const Witness> witnesses() const { return witnesses_; }
  std::string_view names() const { return names_; }
  FileNames file_names() const { return file_names_; }

 private:
  std::uint64_t first_page_ = 0;
  bool has_symbols_ = false, is_go_ = false;
  std::span<const Rule> rules_;
  std::span<const Symbol> symbols_;
  std::span<const Witness> witnesses_;
  std::string_view names_;
  FileNames file_names_;
};

std::string write_table(const Identity& identity, const Content& content);

// The text at `offset`, up to its zero byte or the end.
std::string_view name_at(std::string_view names, std::uint32_t offset);

// The one that covers the address; nullptr: none does.
const Rule* find(std::span<const Rule> rules, std::uint64_t address);
// The last that begins at or before the address and covers it. Without that last condition a stripped library gives
// everything between two exported functions the name of the first.
const Symbol* find(std::span<const Symbol> symbols, std::uint64_t address);

}  // namespace stack::cache
