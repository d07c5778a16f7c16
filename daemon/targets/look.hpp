// A look at all of /proc for any number of finders at once, and what to make of several matches.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/find/finder.hpp"

namespace hatchd::targets {

// A process as a look saw it: its identity, and enough to tell it from others.
struct Seen {
  pid_t pid = 0;
  std::uint64_t started_ticks = 0;
  pid_t parent = 0;
  std::string name{};
};

struct Search {
  Finder* finder;
  std::optional<uid_t> user;  // matches of other users are only counted
  std::optional<pid_t> only{};
  std::vector<Seen> seen{};
  std::size_t of_others = 0;
};

// hatchd's own processes are never a target: the caller, the supervisor, its children that call themselves hatchd, and
// whatever descends from those. (Other children are: a container may start `app & exec hatchd`.)
struct Own {
  pid_t self, supervisor;
};

// One pass. Zombies and kernel threads do not count.
void look(std::vector<Search>& searches, const Own& own);

// The index of the one that all others descend from, if there is one. Links between them that do not match count too.
std::optional<std::size_t> root_of(const std::vector<Seen>& seen);

// Puts the main process of a group first (the oldest of those whose parent is outside), the others by age.
void order_group(std::vector<Seen>& seen);

// "PID name started".
std::string describe(const Seen& seen);

}  // namespace hatchd::targets
