#include "worker/run.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rights.hpp"
#include "worker/host.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

// What a run may have less of than its plugin process: another hatch's capabilities.
Result<void> keep_own_rights(const Task& task, pid_t parent) {
  rights::Rights own;
  bool less = false;
  for (std::string& name : rights::capabilities()) {
    const auto& declared = task.hatch->capabilities;
    if (std::find(declared.begin(), declared.end(), name) != declared.end())
      own.capabilities.push_back(std::move(name));
    else
      less = true;
  }
  return less ? rights::lower(own, task.filter, parent) : Result<void>{};
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

hatch_process facts_of(const json::object& process) {
  hatch_process facts{};
  facts.size = sizeof facts;
  facts.pid = static_cast<std::int32_t>(number_of(process, "pid"));
  facts.start_ticks = static_cast<std::uint64_t>(number_of(process, "started_ticks"));
  facts.pid_namespace = static_cast<std::uint64_t>(number_of(process, "pid_namespace"));
  facts.pidfd = facts.proc_fd = -1;
  facts.uid = static_cast<std::uint32_t>(number_of(process, "uid"));
  facts.gid = static_cast<std::uint32_t>(number_of(process, "gid"));
  facts.main = flag_of(process, "main") ? 1 : 0;
  return facts;
}

void perform(Task& task) {
  Host host{task};
  host.call();
}

void leave_plugin_process(pid_t parent) {
  // A session of its own: what the hatch starts can be found by it, and no terminal signal reaches the run.
  ::setsid();
  // What its plugin process ignores for its own sake (own_signals()). SIGPIPE stays ignored: a peer that hangs up is an
  // error to report (EPIPE), not the end of the run.
  for (const int number : {SIGHUP, SIGINT, SIGQUIT}) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // A core of this process would hold what it read from the target.
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (!rights::die_with(parent)) ::_exit(0);
}

void run_process(Task& task, pid_t parent) {
  rights::set_title("hatchd: run " + task.id);
  log::start("run " + task.id);
  if (auto done = keep_own_rights(task, parent); !done) {
    task.channel.send("closing", {{"status", "broken"}, {"problem", to_json(done.error())}});
    ::_exit(0);
  }
  perform(task);
  // Without destructors and atexit(): the plugin process's are not this process's to run.
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace hatchd::worker
