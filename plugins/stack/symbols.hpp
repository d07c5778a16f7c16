// Names for addresses. Each address is looked up once, in its module's table (cache/tables.hpp).
#pragma once

#include <unordered_map>

#include "stack/cache/learn.hpp"
#include "stack/go/pclntab.hpp"
#include "stack/perf_map.hpp"
#include "stack/unwind.hpp"

namespace stack {

class Symbols {
 public:
  Symbols(const Unwinder& unwinder, cache::Tables& tables, cache::Learner& learner, std::string_view perf_map,
          bool lines)
      : unwinder_(unwinder), tables_(tables), learner_(learner), perf_map_(perf_map), lines_(lines) {}

  // Indices into frames(), innermost first: more than one where functions were inlined.
  std::span<const std::uint32_t> resolve(Address address);
  std::vector<Frame> take_frames() { return std::move(frames_); }

 private:
  // Go's own names, which a stripped program has too.
  const go::Table* go_table(const Module& module);

  const Unwinder& unwinder_;
  cache::Tables& tables_;
  cache::Learner& learner_;
  PerfMap perf_map_;
  bool lines_;
  std::vector<Frame> frames_;
  std::unordered_map<const Module*, std::optional<go::Table>> go_;
  // Keyed by pc, which tells lookup too but for a frame that a signal interrupted: those have a map of their own.
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> callers_, exact_;
};

}  // namespace stack
