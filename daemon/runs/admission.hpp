// Whether a run may start now: the limits of its hatch and target, and of the daemon. The answer to a refusal is a time
// after which it is worth asking again.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/problem.hpp"
#include "catalogue/hatch.hpp"

namespace hatchd::runs {

class Admission {
 public:
  static constexpr unsigned max_running = 32;

  struct Refusal {
    Problem problem;
    unsigned retry_after;  // seconds
  };
  // Counts the run in, or says why not. Every admitted run is handed back by leave(). A dry run does nothing to the
  // target, so only the daemon's own limit holds for it.
  tl::expected<void, Refusal> enter(const catalogue::Hatch& hatch, const std::string& target, SteadyTime now,
                                    bool dry = false);
  void leave(const catalogue::Hatch& hatch, const std::string& target, SteadyTime begun, SteadyTime now,
             bool dry = false);

  unsigned running() const { return running_; }

  // The place of one admitted run: left once, at the latest when its holder ends, however that comes about.
  class Slot {
   public:
    Slot(Admission& admission, const catalogue::Hatch& hatch, std::string target, SteadyTime begun, bool dry)
        : admission_(&admission), hatch_(hatch), target_(std::move(target)), begun_(begun), dry_(dry) {}
    Slot(const Slot&) = delete;
    ~Slot() { leave(); }
    void leave() {
      if (Admission* admission = std::exchange(admission_, nullptr))
        admission->leave(hatch_, target_, begun_, std::chrono::steady_clock::now(), dry_);
    }

   private:
    Admission* admission_;
    const catalogue::Hatch& hatch_;
    std::string target_;
    SteadyTime begun_;
    bool dry_;
  };

 private:
  struct Place {  // a hatch and a target
    unsigned running = 0;
    SteadyTime latest_start{}, last_end{};
    std::chrono::steady_clock::duration last_took{};
    bool ran = false;
  };
  void tidy(SteadyTime now);

  std::map<std::string, Place> places_;
  unsigned running_ = 0;
};

}  // namespace hatchd::runs
