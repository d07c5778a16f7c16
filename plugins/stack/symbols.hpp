// Names for addresses. Each module's symbols are sorted once, each address is looked up once.
#pragma once

#include <unordered_map>

#include "stack/go/pclntab.hpp"
#include "stack/perf_map.hpp"
#include "stack/unwind.hpp"

namespace stack {

class Symbols {
 public:
  Symbols(const Unwinder& unwinder, std::string_view perf_map, bool lines)
      : unwinder_(unwinder), perf_map_(perf_map), lines_(lines) {}

  // Indices into frames(), innermost first: more than one where functions were inlined.
  std::span<const std::uint32_t> resolve(Address address);
  std::vector<Frame> take_frames() { return std::move(frames_); }

 private:
  struct Symbol {
    std::uint64_t start, end;
    const char* name;  // in the module's string table, which lives as long as the Dwfl
    int rank;          // of several names at one address the highest is shown
  };
  struct Table {
    std::vector<Symbol> symbols;
    std::uint64_t bias = 0;
    std::optional<go::Table> go;  // Go's own names, which a stripped program has too
  };

  const Table& table(const Module& module, void* dwfl_module);
  static const Symbol* find(const Table& table, std::uint64_t address);

  const Unwinder& unwinder_;
  PerfMap perf_map_;
  bool lines_;
  std::vector<Frame> frames_;
  std::unordered_map<const Module*, Table> tables_;
  // Keyed by pc, which tells lookup too but for a frame that a signal interrupted: those have a map of their own.
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> callers_, exact_;
};

}  // namespace stack
