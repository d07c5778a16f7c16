// Go's own table of functions, files, lines and frame sizes (.gopclntab), which also a stripped program has: the
// runtime unwinds by it. Versions 1.16, 1.18 and 1.20 of the format (Go 1.16 and later; golang/go
// src/debug/gosym/pclntab.go, src/runtime/symtab.go). Addresses are those of the file, without the bias.
//
// Functions that the compiler inlined stand in a tree for each function, which lies outside the table, among the
// program's constants (FUNCDATA_InlTree, src/runtime/symtabinl.go). The table leads there by an address (1.16, 1.17) or
// by an offset from a symbol that a stripped program has in the runtime's own description of it alone (moduledata).
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stack::go {

class ElfFile;

struct Function {
  std::string_view name;
  std::uint64_t entry = 0;
  std::size_t data = 0;  // of its record in the table
};

struct Line {
  std::string_view file;
  int line = 0;
};

// One of the functions that an address belongs to, and where in it.
struct Place {
  std::string_view function;
  Line line;
  bool inlined = false;
  std::uint8_t kind = 0;  // of the function (funcID)
};

class Table {
 public:
  // Reads the program's constants. False: there is nothing at that address.
  using Constants = std::function<bool(std::uint64_t address, std::span<std::byte> into)>;

  // Where the table is, and none where the program is none of Go's.
  static const Elf64_Shdr* section_of(const ElfFile& file);
  // None: the file has no such table, or one of an unknown version. The file's descriptor must stay open as long as the
  // table lives.
  static std::optional<Table> of(const ElfFile& file);
  // `content` of the section; `text`: where code begins, for versions whose header does not say.
  static std::optional<Table> parse(std::string content, std::uint64_t text);
  // Where inlined functions are looked up. `base`: what offsets of 1.18 and later count from; 0: not known.
  void set_constants(Constants constants, std::uint64_t base);

  std::optional<Function> find(std::uint64_t pc) const;
  // Whose code stands at `pc`, innermost first: functions that were inlined, where that is known, and `function` itself.
  std::vector<Place> places(const Function& function, std::uint64_t pc) const;
  Line line(const Function& function, std::uint64_t pc) const;
  // What the compiler made itself, to pass arguments on: the runtime's traces leave it out. Its number is the last one of
  // each version; looks at all functions.
  std::uint8_t kind_of_wrappers() const;
  std::uint8_t kind_of(const Function& function) const;
  // How far the stack pointer is below the return address (x86-64), or below the frame's end (arm64), at `pc`.
  std::optional<std::int32_t> frame_size(const Function& function, std::uint64_t pc) const;

 private:
  template <class T>
  std::optional<T> at(std::uint64_t offset) const;
  std::string_view text_at(std::uint64_t offset) const;
  // The entry address of the i-th function, and where its record is.
  std::uint64_t entry_of(std::uint64_t index) const;
  std::uint64_t record_of(std::uint64_t index) const;
  std::optional<std::int32_t> value(std::uint64_t table, const Function& function, std::uint64_t pc) const;
  // The `index`-th 32-bit field behind the entry of a function's record.
  std::uint32_t field(const Function& function, unsigned index) const;
  // The address of the tree of inlined functions; 0: it has none, or it is not known.
  std::uint64_t inline_tree(const Function& function) const;
  // How long a record is up to its first table of values by address.
  std::uint64_t head_size() const;
  std::uint64_t find_base(const ElfFile& file, std::uint64_t own_address) const;

  std::string content_;
  Constants constants_;
  std::uint64_t base_ = 0;
  std::uint32_t magic_ = 0;
  bool relative_ = true;  // entries are 32-bit offsets from text_ (1.18 and later)
  std::uint8_t quantum_ = 1;
  std::uint64_t count_ = 0, text_ = 0, names_ = 0, units_ = 0, files_ = 0, values_ = 0, functions_ = 0;
};

}  // namespace stack::go
