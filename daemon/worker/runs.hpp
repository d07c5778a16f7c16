// The runs of a plugin process from `start` to `ended`: opening the target, forking, stopping in time, and cleaning up
// behind them.
//
//   opening ──► fetching ──► running ──► sweeping ──► `ended`
//      └───────────┴── `refused`
//
// opening   waits for `hatchd: targets` to open the target's processes
// fetching  asks for the files that the hatch's flags declare, one after the other
// running   its process lives; a deadline, a cancellation or the pause guard may end it
// sweeping  its process was reaped; what it left behind is killed before anybody hears of the end
#pragma once

#include <poll.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/pages.hpp"
#include "worker/run.hpp"
#include "worker/spare.hpp"

namespace hatchd::worker {

// What the supervisor allows, from `setup`.
struct Allowance {
  struct Limits {
    std::chrono::milliseconds timeout{};
    std::uint64_t max_pause_us = 0;
    bool named = false;  // of a member: the configuration enables it by its own id
  };
  // A hatch that is made from one of the plugin's: other id, other parameters, a configuration of its own.
  struct Derived {
    Hatch hatch;
    boost::json::object configuration;
  };
  std::map<std::string, Limits, std::less<>> hatches;   // by Hatch::key()
  std::map<std::string, Derived, std::less<>> derived;  // by Hatch::key()
  boost::json::object configuration, profiles;
  boost::json::object logs;  // of targets, by name: the extension "log/1"
  std::vector<std::string> targets;
  std::chrono::milliseconds grace{2000};
  std::size_t max_runs = 64;
  UniqueFd cache;
  rights::Filter filter = rights::Filter::plugin;
};

class Runs {
 public:
  static constexpr std::chrono::seconds targets_patience{5};
  static constexpr std::chrono::milliseconds pause_slack{250};
  static constexpr std::chrono::seconds sweep_patience{2};
  // Making a spare takes a CPU for longer than the front takes to answer with the run that has just ended.
  static constexpr std::chrono::milliseconds spare_after{2};

  // `foreign`: descriptors of the plugin process that no run may keep.
  Runs(Plugin& plugin, Allowance allowance, link::Channel& front, std::vector<int> foreign);
  ~Runs();

  void start(link::Message& message);                // from the front
  void cancel(const std::string& run);               // from the front
  void use_targets(link::Channel channel);           // from the supervisor
  int targets_fd() const { return targets_.fd(); }   // -1: none
  void read_targets();                               // when it is readable
  void children_changed();                           // on SIGCHLD
  void add_fds(std::vector<pollfd>& entries) const;  // where runs write to, and where the spare says that it is there
  void read_fds();                                   // when one of those is readable

  // Asks every run to end, and lets no new one start. Without `grace` they are killed at once.
  void stop(std::chrono::milliseconds grace);

  // Does what time asks for, and says when to come again (SteadyTime::max(): no need). After a run, when there has been
  // none for `spare_after`, it makes the process of the next one.
  SteadyTime tick();
  bool empty() const { return runs_.empty(); }

 private:
  enum class Phase { opening, fetching, running, sweeping };
  struct Active {
    Phase phase = Phase::opening;
    Task task;
    std::uint64_t tag = 0;                                      // of the question to targets that is open
    std::vector<std::pair<std::size_t, std::uint32_t>> wanted;  // process, HATCH_FILE_…; answered from the back
    SteadyTime give_up{};                                       // opening, fetching, sweeping: no longer than this
    RunProcess process;
    std::int64_t pause_limit_ns = 0;
    SteadyTime kill_at = SteadyTime::max();
    const char* asked = nullptr;  // why it shall end
    bool killed = false, by_signal = false;
    int status = 0;
    boost::json::object target;  // of `started`
    std::chrono::milliseconds timeout{};
  };
  using Iterator = std::map<std::string, std::unique_ptr<Active>>::iterator;

  Result<std::unique_ptr<Active>> admit(link::Message& message) const;
  void refuse_run(std::string id, const Problem& problem);
  void opened(Iterator at, link::Message& message);
  void next_file(Iterator at);
  void file_answer(Active& active, link::Message& message);
  void launch(Iterator at);
  bool hand_to_spare(Active& active);
  bool fork_run(Active& active);
  void make_spare();
  void become_child(UniqueFd errors, const Active* own);
  [[noreturn]] void wait_for_task(link::Channel channel, Task task, pid_t parent);
  const Hatch* hatch_of(const std::string& key) const;
  void ask(Active& active, const char* why);
  void kill(Active& active);
  void sweep();
  bool leftovers_killed();
  void report_ended(const std::string& id, const Active& active);
  Iterator by_tag(std::uint64_t tag);

  Plugin& plugin_;
  Allowance allowance_;
  link::Channel& front_;
  link::Channel targets_;
  std::vector<int> foreign_;
  std::map<std::string, std::unique_ptr<Active>> runs_;
  std::uint64_t last_tag_ = 0;
  Pages pages_;
  RunProcess spare_;                         // of the next run
  SteadyTime spare_at_ = SteadyTime::max();  // when it shall be made
  bool stopping_ = false;
};

}  // namespace hatchd::worker
