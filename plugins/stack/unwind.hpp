// From the copies to return addresses, offline, with elfutils' libdwfl: the target runs again and is not asked
// anything.
#pragma once

#include "stack/model.hpp"

struct Dwfl;

namespace stack {

// Why the stack of a thread that was not stopped may end early.
std::string why_cut(const ThreadCopy& thread);

class Unwinder {
 public:
  // The process must outlive the unwinder; its descriptors stay its own.
  explicit Unwinder(const ProcessCopy& process);
  ~Unwinder();
  Unwinder(const Unwinder&) = delete;

  RawStack unwind(const ThreadCopy& thread, unsigned max_frames);
  // With all modules reported, for names and lines.
  Dwfl* dwfl() const { return dwfl_; }
  const Module* module_at(std::uint64_t address) const;
  // The separate debug files that were looked for, for this module.
  std::span<const std::string> debug_files(const Module& module) const;

  struct State;

 private:
  const ProcessCopy& process_;
  std::unique_ptr<State> state_;
  Dwfl* dwfl_ = nullptr;
};

}  // namespace stack
