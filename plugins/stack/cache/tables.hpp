// The tables of all modules of one process: what the cache has of them, and what this run learns besides.
#pragma once

#include <memory>
#include <unordered_map>

#include "stack/cache/store.hpp"
#include "stack/cache/table.hpp"
#include "stack/model.hpp"

namespace stack::cache {

class ModuleTable {
 public:
  ModuleTable(const Module& module, const Store& store) : module_(module), store_(store) {}
  ModuleTable(const ModuleTable&) = delete;

  const Module& module() const { return module_; }
  // What to add to the file's own addresses; nullopt: not known before something is learned.
  std::optional<std::uint64_t> bias();
  std::optional<Rule> rule(std::uint64_t address);  // one of the target's, as all addresses here
  bool has_symbols();
  bool is_go();
  std::span<const Symbol> symbols();
  std::string name(const Symbol& symbol) const;

  // Of what is learned. The bias comes first and stays.
  void set_bias(std::uint64_t bias);
  void add(const Rule& rule);  // in the file's own addresses
  void set_symbols(std::vector<Symbol> symbols, std::string names, FileNames file_names, bool is_go);
  void add_witness(const std::string& path);

  // As a file of its own; empty where nothing was learned or the module has no identity.
  std::string written() const;
  // Instead of what is there. False: they are not this module's, or damaged. `learned`: save() is to write it.
  bool take(Bytes bytes, bool learned);

 private:
  void load();

  const Module& module_;
  const Store& store_;
  bool loaded_ = false, changed_ = false;
  Bytes bytes_;                 // what `table_`, `symbols_` and `names_` look into
  std::optional<Table> table_;  // as it was stored
  std::optional<std::uint64_t> bias_;
  std::vector<Rule> rules_;  // learned in this run, sorted by start
  bool has_symbols_ = false, is_go_ = false;
  std::span<const Symbol> symbols_;
  std::string_view names_;
  FileNames file_names_;
  std::vector<Symbol> own_symbols_;
  std::string own_names_;
  std::vector<std::pair<std::string, Witness>> witnesses_;
  bool too_many_witnesses_ = false;
};

class Tables {
 public:
  // `process` must outlive it. `folder`: as of Store.
  Tables(const std::vector<Module>& modules, int folder);
  Tables(const Tables&) = delete;

  // nullptr: in no module.
  ModuleTable* at(std::uint64_t address);
  ModuleTable& of(const Module& module) { return modules_.at(static_cast<std::size_t>(&module - first_)); }
  std::deque<ModuleTable>& all() { return modules_; }

  // The rule at an address of the target. nullptr: to be learned, or in no module. It holds until the next call.
  const Rule* rule(std::uint64_t address);
  // Nothing can be learned of it.
  void leave_to_library(std::uint64_t address);
  void save() const;
  int folder() const { return store_.folder(); }

 private:
  Store store_;
  const Module* first_;
  std::deque<ModuleTable> modules_;                // as the process has them
  std::unordered_map<std::uint64_t, Rule> known_;  // by address: threads of one pool stand at the same
};

}  // namespace stack::cache
