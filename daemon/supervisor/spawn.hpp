// Starting one of hatchd's own processes: mechanism only; supervisor.cpp decides when.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.hpp"
#include "base/problem.hpp"
#include "link/channel.hpp"

namespace hatchd::supervisor {

struct Spawned {
  pid_t pid = -1;
  UniqueFd pidfd;
  link::Channel channel;  // the child has the other end on link::control_fd
};

// Runs `program` with `title` as argv[0], which is what ps shows. The child gets /dev/null as stdin, our stdout and
// stderr, its channel, and no other descriptor; default signal dispositions and an empty mask; a short environment.
// Refused when exec fails, with the reason.
Result<Spawned> spawn(const std::string& program, const std::string& title);

// Where hatchd-worker is.
Result<std::string> worker_program();

}  // namespace hatchd::supervisor
