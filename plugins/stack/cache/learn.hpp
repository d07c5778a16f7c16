// What tables do not know yet, from the library. Parses what strangers wrote: only where there are no rights any more.
#pragma once

#include <map>
#include <optional>

#include "stack/cache/walk.hpp"
#include "stack/go/pclntab.hpp"

namespace stack::cache {

class Learner {
 public:
  Learner(Unwinder& unwinder, Tables& tables) : unwinder_(unwinder), tables_(tables) {}

  // The rule for an address within a module: afterwards tables.rule() has one.
  void rule(std::uint64_t address);
  // The symbols of a module, if only to find that there are none.
  void symbols(ModuleTable& table);

 private:
  const go::Table* go_table(const ModuleTable& table);

  Unwinder& unwinder_;
  Tables& tables_;
  std::map<const ModuleTable*, std::optional<go::Table>> go_tables_;  // of those that were looked at
};

// walk() with all the rules that it needs.
Walk walk_learning(Tables& tables, Learner& learner, const ThreadCopy& thread, unsigned max_frames);

}  // namespace stack::cache
