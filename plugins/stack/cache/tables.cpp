#include "stack/cache/tables.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace stack::cache {
namespace {

constexpr std::size_t max_witnesses = 8, max_path = 4096, max_rules = 1'000'000, max_name = 4096;

Witness look_for(const std::string& path) {
  Witness witness;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return witness;
  witness.device = info.st_dev;
  witness.inode = info.st_ino;
  witness.size = static_cast<std::uint64_t>(info.st_size);
  witness.modified_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
  return witness;
}

// The debug files that it was made with, or for want of which, are as they were.
bool still_holds(const Table& table) {
  if (table.witnesses().size() > max_witnesses) return false;
  return std::all_of(table.witnesses().begin(), table.witnesses().end(), [&](const Witness& then) {
    const std::string path{name_at(table.names(), then.path).substr(0, max_path)};
    const Witness now = look_for(path);
    return now.device == then.device && now.inode == then.inode && now.size == then.size &&
           now.modified_ns == then.modified_ns;
  });
}

// Of both, sorted; what was learned later counts where two overlap.
std::vector<Rule> merged(std::span<const Rule> stored, std::span<const Rule> learned) {
  std::vector<Rule> all{stored.begin(), stored.end()};
  all.insert(all.end(), learned.begin(), learned.end());
  std::stable_sort(all.begin(), all.end(), [](const Rule& a, const Rule& b) { return a.start < b.start; });
  std::vector<Rule> apart;
  for (const Rule& rule : all) {
    if (!apart.empty() && rule.start - apart.back().start < apart.back().size) {
      if (rule.start == apart.back().start) {
        apart.back() = rule;
        continue;
      }
      apart.back().size = static_cast<std::uint32_t>(rule.start - apart.back().start);
    }
    apart.push_back(rule);
  }
  return apart;
}

}  // namespace

void ModuleTable::load() {
  if (std::exchange(loaded_, true) || !module_.identity) return;
  Bytes stored = store_.load(*module_.identity);
  take(std::move(stored), false);
}

bool ModuleTable::take(Bytes bytes, bool learned) {
  loaded_ = true;
  if (!module_.identity) return false;
  const auto table = Table::parse(bytes.view(), *module_.identity);
  if (!table || !still_holds(*table)) return false;
  bytes_ = std::move(bytes);
  table_ = table;
  bias_ = module_.low - table->first_page();
  has_symbols_ = table->has_symbols();
  is_go_ = table->is_go();
  symbols_ = table->symbols();
  names_ = table->names();
  file_names_ = table->file_names();
  witnesses_.clear();
  for (const Witness& witness : table->witnesses())
    witnesses_.emplace_back(std::string(name_at(table->names(), witness.path).substr(0, max_path)), witness);
  changed_ = learned;
  return true;
}

std::optional<std::uint64_t> ModuleTable::bias() {
  load();
  return bias_;
}

std::optional<Rule> ModuleTable::rule(std::uint64_t address) {
  load();
  if (!bias_) return std::nullopt;
  const Rule* found = find(rules_, address - *bias_);
  if (!found && table_) found = find(table_->rules(), address - *bias_);
  return found ? std::optional{*found} : std::nullopt;
}

bool ModuleTable::has_symbols() {
  load();
  return has_symbols_;
}
bool ModuleTable::is_go() {
  load();
  return is_go_;
}
std::span<const Symbol> ModuleTable::symbols() {
  load();
  return symbols_;
}

void ModuleTable::set_bias(std::uint64_t bias) {
  load();
  if (!bias_) bias_ = bias;
}

void ModuleTable::add(const Rule& rule) {
  const auto after = std::upper_bound(rules_.begin(), rules_.end(), rule.start,
                                      [](std::uint64_t a, const Rule& r) { return a < r.start; });
  rules_.insert(after, rule);
  changed_ = true;
}

std::string ModuleTable::name(const Symbol& symbol) const {
  if (file_names_.size == 0) return std::string(name_at(names_, symbol.name));
  if (symbol.name >= file_names_.size || file_names_.at > (std::uint64_t{1} << 62) || !module_.file) return {};
  std::string name(std::min<std::uint64_t>(max_name, file_names_.size - symbol.name), '\0');
  const ssize_t n =
      ::pread(module_.file.get(), name.data(), name.size(), static_cast<off_t>(file_names_.at + symbol.name));
  name.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  name.resize(std::min(name.find('\0'), name.size()));
  return name;
}

void ModuleTable::set_symbols(std::vector<Symbol> symbols, std::string names, FileNames file_names, bool is_go) {
  own_symbols_ = std::move(symbols);
  own_names_ = std::move(names);
  symbols_ = own_symbols_;
  names_ = own_names_;
  file_names_ = file_names;
  is_go_ = is_go;
  has_symbols_ = changed_ = true;
}

void ModuleTable::add_witness(const std::string& path) {
  const bool known =
      std::any_of(witnesses_.begin(), witnesses_.end(), [&](const auto& witness) { return witness.first == path; });
  if (known) return;
  too_many_witnesses_ |= witnesses_.size() >= max_witnesses || path.size() > max_path;
  if (!too_many_witnesses_) witnesses_.emplace_back(path, look_for(path));
}

std::string ModuleTable::written() const {
  if (!changed_ || !module_.identity || !bias_ || too_many_witnesses_) return {};
  Content content;
  content.first_page = module_.low - *bias_;
  content.rules = merged(table_ ? table_->rules() : std::span<const Rule>{}, rules_);
  if (content.rules.size() > max_rules) content.rules.clear();
  content.has_symbols = has_symbols_;
  content.is_go = is_go_;
  content.symbols.assign(symbols_.begin(), symbols_.end());
  content.file_names = file_names_;
  content.names = names_;
  if (!content.names.empty() && content.names.back() != '\0') content.names += '\0';
  for (const auto& [path, found] : witnesses_) {
    Witness& witness = content.witnesses.emplace_back(found);
    witness.path = static_cast<std::uint32_t>(content.names.size());
    content.names += path + '\0';
  }
  return write_table(*module_.identity, content);
}

Tables::Tables(const std::vector<Module>& modules, int folder) : store_(folder), first_(modules.data()) {
  for (const Module& module : modules) modules_.emplace_back(module, store_);
}

ModuleTable* Tables::at(std::uint64_t address) {
  const auto after = std::upper_bound(modules_.begin(), modules_.end(), address,
                                      [](std::uint64_t a, const ModuleTable& m) { return a < m.module().low; });
  if (after == modules_.begin()) return nullptr;
  ModuleTable& table = *std::prev(after);
  return address < table.module().high ? &table : nullptr;
}

const Rule* Tables::rule(std::uint64_t address) {
  if (const auto known = known_.find(address); known != known_.end()) return &known->second;
  ModuleTable* const table = at(address);
  const auto rule = table ? table->rule(address) : std::nullopt;
  return rule ? &known_.emplace(address, *rule).first->second : nullptr;
}

void Tables::leave_to_library(std::uint64_t address) {
  Rule rule;
  rule.flags = Rule::library;
  known_.insert_or_assign(address, rule);
}

void Tables::save() const {
  for (const ModuleTable& table : modules_)
    if (const std::string written = table.written(); !written.empty()) store_.save(*table.module().identity, written);
}

}  // namespace stack::cache
