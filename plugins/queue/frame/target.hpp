// The processes of the target, as far as a ping needs them: to tell which worker is which process, and in what state.
#pragma once

#include <string>
#include <vector>

#include "hatch/hatch.hpp"

namespace queue {

struct TargetProcess {
  int pid = 0;                  // in hatchd's pid namespace
  std::vector<int> inner_pids;  // what it and its containers call it (NSpid)
  char state = '?';             // as /proc/PID/stat has it: T is stopped
};

std::vector<TargetProcess> target_processes(const hatch::Run& run);
// The process that calls itself `pid`; nullptr: none of the target.
const TargetProcess* find_process(const std::vector<TargetProcess>& processes, long long pid);

}  // namespace queue
