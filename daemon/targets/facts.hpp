// What is told of a process: PROCESS in link/protocol.hpp. Whatever may not be read is absent.
#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <string>

#include "base/clock.hpp"
#include "targets/process.hpp"

namespace hatchd::targets {

// A process that a target holds, with what is costly to learn and seldom changes.
struct Held {
  Process process;
  std::string runtime{};
  dev_t exe_device{};  // exec keeps pid and start time, so what was learnt counts for one executable
  ino_t exe_inode{};
  SteadyTime learnt{};
};

// `max_command`: how many bytes of its command line are told; 0 for none.
boost::json::object facts(Held& held, bool main, std::size_t max_command);

// The login name of a uid, "" when it has none.
std::string user_name(uid_t uid);

}  // namespace hatchd::targets
