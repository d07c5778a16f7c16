#include "stack/cache/walk.hpp"

#include <cstring>

namespace stack::cache {
namespace {

class Walker {
 public:
  Walker(Tables& tables, const ThreadCopy& thread) : tables_(tables), thread_(thread) {
    const Registers& registers = *thread.registers;
    values_ = registers.values;
    known_ = registers.complete ? ~std::uint64_t{0} : bit(Registers::sp_number) | bit(Registers::pc_number);
  }

  Walk run(unsigned max_frames) {
    Walk walk;
    std::uint64_t last_sp = 0;
    for (;;) {
      const std::uint64_t pc = values_[Registers::pc_number], sp = values_[Registers::sp_number];
      const bool first = walk.stack.frames.empty();
      // A frame lies further up than what it called, but for a leaf of aarch64, which has none.
      if (!first && (sp < last_sp || (sp == last_sp && Registers::count != 33))) return walk;
      last_sp = sp;
      if (walk.stack.frames.size() >= max_frames) {
        walk.stack.truncated = true;
        walk.end = Walked::whole;
        return walk;
      }
      const std::uint64_t lookup = first ? pc : pc - 1;
      walk.stack.frames.push_back({pc, lookup});
      const Rule* const rule = tables_.rule(lookup);
      if (!rule) {
        walk.unknown = lookup;
        walk.end = tables_.at(lookup) ? Walked::unknown : Walked::library;
        return walk;
      }
      if (const auto end = step(*rule)) {
        walk.end = *end;
        walk.stack.outermost = (rule->flags & Rule::outermost) != 0 && walk.end == Walked::whole;
        return walk;
      }
    }
  }

 private:
  static constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }

  bool read(std::uint64_t address, std::uint64_t& value) const {
    const std::uint64_t offset = address - thread_.stack_start;
    if (address < thread_.stack_start || thread_.stack.size() < sizeof value ||
        offset > thread_.stack.size() - sizeof value)
      return false;
    std::memcpy(&value, thread_.stack.data() + offset, sizeof value);
    return true;
  }

  Walked want() const { return thread_.registers->complete ? Walked::library : Walked::wants_register; }

  // From a frame to its caller, or the end.
  std::optional<Walked> step(const Rule& rule) {
    if (rule.flags & Rule::library) return Walked::library;
    if (rule.flags & Rule::outermost) return Walked::whole;
    if (rule.cfa_register >= Registers::count) return Walked::library;
    if (!(known_ & bit(rule.cfa_register))) return want();
    const std::uint64_t cfa = values_[rule.cfa_register] + static_cast<std::uint64_t>(std::int64_t{rule.cfa_offset});

    std::uint64_t pc = 0;
    if (rule.return_address == Rule::same) {  // aarch64: still in the link register
      if (return_register >= Registers::count) return Walked::library;
      if (!(known_ & bit(return_register))) return want();
      pc = values_[return_register];
    } else if (rule.return_address == Rule::lost || !read(at(cfa, rule.return_address), pc)) {
      return Walked::library;
    }
    if (pc == 0) return Walked::whole;

    std::uint64_t known = bit(Registers::sp_number) | bit(Registers::pc_number);
    for (std::size_t i = 0; i < kept_registers.size(); ++i) {
      const unsigned number = kept_registers[i];
      if (rule.kept[i] == Rule::same)
        known |= known_ & bit(number);
      else if (rule.kept[i] != Rule::lost && read(at(cfa, rule.kept[i]), values_[number]))
        known |= bit(number);
    }
    known_ = known;
    values_[Registers::sp_number] = cfa;
    values_[Registers::pc_number] = pc;
    return std::nullopt;
  }

  static std::uint64_t at(std::uint64_t cfa, std::int16_t offset) {
    return cfa + static_cast<std::uint64_t>(std::int64_t{offset});
  }

  Tables& tables_;
  const ThreadCopy& thread_;
  std::array<std::uint64_t, Registers::count> values_{};
  std::uint64_t known_ = 0;
};

}  // namespace

Walk walk(Tables& tables, const ThreadCopy& thread, unsigned max_frames) {
  return Walker{tables, thread}.run(max_frames);
}

}  // namespace stack::cache
