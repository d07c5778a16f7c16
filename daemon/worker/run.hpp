// One run: what it is given, and how its process calls the hatch.
//
// The plugin process gathers a Task (parameters, descriptors of the target, budget), forks, and the child performs it:
// the hatch is called with a Host (host.hpp), then `closing` is sent. A run whose process ends without `closing` has
// crashed; nothing here tries to soften that.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/rights.hpp"
#include "link/channel.hpp"
#include "worker/plugin.hpp"

namespace hatchd::worker {

// Shared memory between a run and its plugin process: since when the run has held its target. The plugin process reads
// it to end a run that overstays; CLOCK_MONOTONIC is one clock for all processes.
struct PauseBoard {
  std::atomic<std::int64_t> since_ns{0};  // 0: not held
  std::atomic<std::int64_t> longest_ns{0};
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "the board works across processes");

std::int64_t monotonic_ns();

// One process of the target, as `hatchd: targets` opened it.
struct OpenProcess {
  // Beside the files of hatch.h: the network namespace, which the plugin is not handed (hatch/network.hpp).
  static constexpr std::uint32_t network = HATCH_FILE_LOG + 1;
  static constexpr std::size_t file_count = network + 1;

  hatch_process facts{};  // without the descriptors
  UniqueFd pidfd, directory;
  std::array<UniqueFd, file_count> files;
  std::array<int, file_count> file_errors{};  // negative errno where there is no descriptor
};
// Reads a PROCESS of link/protocol.hpp.
hatch_process facts_of(const boost::json::object& process);

// Each member reaches a run that was forked ahead by send_task() and take_task() (spare.hpp).
struct Task {
  std::string id, key, format = "json", target_name;  // key: Hatch::key(), or the derived hatch's
  const Hatch* hatch = nullptr;
  bool preflight = false;
  bool recording = false;  // until the front says `act`; only a hatch with the requirement "act/1" is begun before
  boost::json::object params, configuration, profile, caller;
  boost::json::object log;  // where the target's log is, for hatches that look there
  std::vector<OpenProcess> processes;
  std::int64_t processes_counted = 0;  // how many the target has; more than `processes` holds: the rest is left out
  SteadyTime deadline{};
  std::uint64_t max_pause_us = 0;
  link::Channel channel;    // the run channel
  UniqueFd cancel, stream;  // cancel: an eventfd, readable when the run shall stop
  int cache_fd = -1;        // the plugin process's
  PauseBoard* board = nullptr;
  rights::Filter filter = rights::Filter::plugin;  // of the run's process
};

// Calls the hatch in this very process and sends its answer.
void perform(Task& task);

// The life of a forked run: leaves its plugin process's ways, then performs and exits. `parent` is the plugin process.
void leave_plugin_process(pid_t parent);
[[noreturn]] void run_process(Task& task, pid_t parent);

}  // namespace hatchd::worker
