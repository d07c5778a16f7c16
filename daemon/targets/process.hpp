// One process, held so that nothing done through it can reach another of the same number: a descriptor of its /proc
// directory (O_PATH, so it needs no right), a pidfd, and its start time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.hpp"

namespace hatchd::targets {

class Process {
 public:
  // The living process of this number; with `started_ticks` only the one that started then. nullopt with errno: ESRCH
  // when there is none (also for a thread's id and for a zombie), else what the system said.
  static std::optional<Process> open(pid_t pid, std::uint64_t started_ticks = 0);

  // Neither dead nor a zombie.
  bool alive() const;

  pid_t pid() const { return pid_; }
  std::uint64_t started_ticks() const { return started_ticks_; }
  const std::string& started() const { return started_; }  // RFC 3339
  int directory() const { return directory_.get(); }
  int pidfd() const { return pidfd_.get(); }

 private:
  Process() = default;
  pid_t pid_ = 0;
  std::uint64_t started_ticks_ = 0;
  std::string started_;
  UniqueFd directory_, pidfd_;
};

}  // namespace hatchd::targets
