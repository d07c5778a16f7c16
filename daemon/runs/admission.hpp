// Whether a run may start now: the limits of its hatch and target, and of the daemon. A run that may not is refused with
// the seconds after which it would go, or, where its hatch has a queue, waits for its turn.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/problem.hpp"
#include "catalogue/hatch.hpp"

namespace hatchd::runs {

class Admission {
 public:
  struct Limits {
    unsigned running = 32;   // of all hatches together
    unsigned waiting = 256;  // in all queues together
  };
  static constexpr unsigned tolerated_crashes = 3;  // in a row; from then on each earns a rest, twice the one before
  static constexpr std::chrono::seconds shortest_rest{10}, longest_rest{600};

  Admission() : Admission(Limits{}) {}
  explicit Admission(Limits limits) : limits_(limits) {}

  struct Refusal {
    Problem problem;
    unsigned retry_after;  // seconds, after which it goes if nothing else happens and runs take as long as before
  };

  // One admitted run, from enter() to leave(), which its end calls at the latest.
  class Slot {
   public:
    Slot(const Slot&) = delete;
    ~Slot() { leave(std::chrono::steady_clock::now(), false); }

    bool waits() const { return waits_; }
    // Does a run that waits get its turn now? Otherwise `again` says when time alone may bring it; max(): only the end
    // of another run does.
    bool start(SteadyTime now, SteadyTime& again);
    // Gives the place back. Its next run may start at once.
    void leave(SteadyTime now, bool crashed);

   private:
    friend class Admission;
    Slot(Admission& admission, const catalogue::Hatch& hatch, const std::string& target, bool dry)
        : admission_(&admission),
          key_(key_of(hatch, target)),
          concurrency_(hatch.concurrency),
          timeout_(hatch.timeout),
          cooldown_(hatch.cooldown),
          dry_(dry) {}

    Admission* admission_;  // nullptr: left
    std::pair<std::string, std::string> key_;
    unsigned concurrency_;
    SteadyTime::duration timeout_, cooldown_;
    bool dry_, waits_ = false;
    SteadyTime begun_{};
  };

  // Takes the run in, to start at once or to wait; or says why not: busy, cooldown, overloaded. A dry run does nothing
  // to the target, so only the daemon's own limit holds for it.
  tl::expected<std::shared_ptr<Slot>, Refusal> enter(const catalogue::Hatch& hatch, const std::string& target,
                                                     SteadyTime now, bool dry = false);

  unsigned running() const { return running_; }
  unsigned waiting() const { return waiting_; }

  // Targets on which the hatch rests since it crashed again and again.
  struct Rest {
    std::string target;
    unsigned crashes;
    unsigned seconds;  // that are left
  };
  std::vector<Rest> resting(const catalogue::Hatch& hatch, SteadyTime now) const;

 private:
  struct State;
  using Key = std::pair<std::string, std::string>;  // hatch and kind; target
  static Key key_of(const catalogue::Hatch& hatch, const std::string& target);

  std::optional<Refusal> refusal(const catalogue::Hatch& hatch, const std::string& target, const State& state,
                                 SteadyTime now) const;
  // When a run more could start here, and when a run more could start anywhere.
  SteadyTime room(const catalogue::Hatch& hatch, const State& state, SteadyTime now) const;
  SteadyTime room_anywhere(SteadyTime now) const;
  void begin(State& state, Slot& slot, SteadyTime now);
  void tidy(SteadyTime now);

  struct State {  // of a hatch and a target
    struct Running {
      SteadyTime begun, limit;  // `limit`: its end at the latest
    };
    std::map<const Slot*, Running> running;
    std::list<const Slot*> queue;            // oldest first
    std::vector<SteadyTime::duration> took;  // of the last runs, newest last
    SteadyTime rest_until{};                 // cool-down, or the rest after crashes
    unsigned crashes = 0;                    // in a row
    bool idle() const { return running.empty() && queue.empty(); }
    SteadyTime expected_end(const Running& run, SteadyTime now) const;
  };

  Limits limits_;
  std::map<Key, State> states_;
  unsigned running_ = 0, waiting_ = 0;
  std::map<const Slot*, SteadyTime> dry_;  // dry runs and their ends at the latest
};

}  // namespace hatchd::runs
