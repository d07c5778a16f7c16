// Runs hatches: admission → record → plugin process → run channel → result → record. One coroutine conducts each run
// (conduct.cpp tells its way from start to end); everything happens on the front's event loop but what blocks, which
// goes to the pool.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "audit/entry.hpp"
#include "catalogue/catalogue.hpp"
#include "runs/admission.hpp"
#include "runs/artifacts.hpp"
#include "runs/history.hpp"
#include "runs/keys.hpp"
#include "runs/plugins.hpp"
#include "runs/store.hpp"

namespace hatchd::runs {

// What a caller asked for, checked: parameters are valid, the target exists, the caller may.
struct Order {
  std::shared_ptr<const catalogue::Hatch> hatch;  // keeps its catalogue, which a reload may have replaced by now
  std::string target, processes = "all", profile, format = "json", reason;
  boost::json::object params, masked;
  access::Caller caller;
  schema::Effect effect = schema::Effect::observe;
  access::Role role = access::Role::none;
  bool preflight = false;
  audit::Origin origin;                 // of the request
  boost::json::object target_identity;  // `pid` and `started` of its main process, as far as they are known
  std::optional<Keys::Key> key;         // free when start() is called: see Keys::first()
};

struct Limits {
  std::chrono::milliseconds grace{10000};     // between asking a run to stop and killing it
  std::chrono::milliseconds backstop{10000};  // beyond time limit and grace, when the plugin's process itself hangs
  std::size_t kept = 64 * 1024 * 1024;        // results in memory of runs that are over, since the disk refused them
  std::chrono::milliseconds history{10000};   // a list waits so long for what is not read back yet
  Admission::Limits admission{};
  std::string more_rights{};  // the command that starts hatchd with more rights; empty: it is a service
};

class Runner {
 public:
  Runner(asio::any_io_executor executor, Plugins& plugins, Store& store, const Disk& disk, Pool& pool, Limits limits);

  // Where runs are written down for those who ask who did what. Without it (in tests) they are not.
  void use(audit::Audit& audit) { audit_ = &audit; }
  // The audit wrote, or could not.
  void audit_moved() { audited_.notify(); }

  // Starts a run, or refuses with the seconds to wait: cooldown, busy, overloaded, audit-unwritable, shutting-down.
  tl::expected<LivePtr, Admission::Refusal> start(Order order);
  // Returns when the run is over or `until` has come.
  asio::awaitable<void> wait(LivePtr live, SteadyTime until = SteadyTime::max());
  void cancel(const LivePtr& live);

  // The run while it is in memory; nullptr otherwise. So it is as long as its last record is not on disk.
  LivePtr live(const std::string& id) const;
  // From memory or disk. run-unknown.
  asio::awaitable<Result<Run>> load(std::string id);
  // Result or rendering of a run, by the name of its file (disk.hpp).
  asio::awaitable<Result<std::string>> read(std::string id, std::string file);
  asio::awaitable<Result<UniqueFd>> open_artifact(std::string id, unsigned number);
  // Targets on which a hatch rests since its runs crashed.
  std::vector<Admission::Rest> resting(const catalogue::Hatch& hatch) const;
  // The journal of its events (follow.hpp).
  asio::awaitable<Result<UniqueFd>> open_events(std::string id);
  // Takes an artifact out of the record, then its file; the run as it is after that.
  asio::awaitable<Result<Run>> remove_artifact(std::string id, std::string name);

  Keys& keys() { return keys_; }
  History& history() { return history_; }

  struct Listed {
    std::vector<Run> runs;
    std::string next;
    bool whole = true;  // false: the history is being read still, and what is older is on the next page
  };
  asio::awaitable<Listed> list(Store::Query query);

  // Refuses new runs, cancels those under way and waits until each is recorded, or `until`, when the rest is recorded
  // as it stands.
  asio::awaitable<void> stop(SteadyTime until);
  // Called with every run that is over, but for dry runs.
  void on_end(std::function<void(const Run&)> told) { on_end_ = std::move(told); }
  // Removes what exceeds the retention, once it is known what there is.
  asio::awaitable<void> prune();

 private:
  // conduct.cpp
  asio::awaitable<void> conduct(LivePtr live, Order order, std::shared_ptr<Admission::Slot> slot);
  asio::awaitable<void> be_on_record(LivePtr live, const Order& order, std::uint64_t audited);
  asio::awaitable<void> take_turn(LivePtr live, const Order& order, std::shared_ptr<Admission::Slot> slot);
  void begin(const LivePtr& live, const Order& order);
  // audited.cpp
  std::uint64_t audit_begin(const LivePtr& live, const Order& order);
  asio::awaitable<Result<void>> audit_durable(std::uint64_t number);
  void audit_end(const LivePtr& live, const Order& order);
  asio::awaitable<void> hand_over(LivePtr live, const Order& order);
  asio::awaitable<void> attend(LivePtr live);
  asio::awaitable<void> read_channel(LivePtr live);
  asio::awaitable<void> conclude(LivePtr live);
  // recording.cpp
  asio::awaitable<void> begin_record(LivePtr live, const Order& order);
  asio::awaitable<Result<void>> write_record(LivePtr live, bool durable);
  asio::awaitable<void> record(LivePtr live);
  asio::awaitable<void> write_events(LivePtr live);
  void spill_events(const LivePtr& live);
  asio::awaitable<void> write_end(LivePtr live);
  asio::awaitable<void> settle(LivePtr live);
  void not_recorded(const LivePtr& live, const Problem& problem);
  void end(const LivePtr& live, State state, std::optional<Problem> problem);
  void retire(const LivePtr& live);
  void bound_kept();
  // late.cpp
  void write_later(const LivePtr& live, bool stored);
  asio::awaitable<void> write_late();

  asio::any_io_executor executor_;
  Plugins& plugins_;
  Store& store_;
  const Disk& disk_;
  Pool& pool_;
  Limits limits_;
  Admission admission_;
  Keys keys_;
  History history_;
  Artifacts artifacts_;
  bool stopping_ = false, removing_ = false, settling_ = false;
  struct Unsettled {  // a run whose files are written and not synced
    std::string id;
    bool lasting;
    std::shared_ptr<Ends::Place> place;
  };
  std::vector<Unsettled> unsettled_;
  std::map<std::string, LivePtr> live_;  // under way
  std::deque<LivePtr> recent_;           // over, newest last: for followers
  struct Late {
    LivePtr live;
    bool stored;  // once the record is: is the result?
  };
  std::map<std::string, Late> late_;  // over, and the disk refused the record that says so
  asio::steady_timer late_timer_;     // until they are tried again
  bool writing_late_ = false;
  std::function<void(const Run&)> on_end_;
  Signal removed_;  // removing_ became false
  Signal ended_;    // a run left live_, or writing_late_ became false
  audit::Audit* audit_ = nullptr;
  Signal audited_;
  Signal turn_;  // a run left its place, or got its turn
};

}  // namespace hatchd::runs
