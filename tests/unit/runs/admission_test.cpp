// The limits by themselves, with a clock of the test's own: whatever Retry-After says, is when it goes.
#include "runs/admission.hpp"

#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::runs;
using namespace std::chrono_literals;

namespace {

struct Door {
  Admission admission;
  catalogue::Hatch hatch;
  SteadyTime now = std::chrono::steady_clock::now();

  explicit Door(Admission::Limits limits = {}) : admission(limits) {
    hatch.id = "a.b";
    hatch.timeout = 30s;
  }
  std::shared_ptr<Admission::Slot> in(const std::string& target = "web") {
    auto slot = admission.enter(hatch, target, now);
    if (!slot) FAIL(slot.error().problem.detail);
    return *slot;
  }
  Admission::Refusal out(const std::string& target = "web") {
    auto slot = admission.enter(hatch, target, now);
    REQUIRE_FALSE(slot);
    return slot.error();
  }
  bool starts(const std::shared_ptr<Admission::Slot>& slot) {
    SteadyTime again;
    return slot->start(now, again);
  }
  void run_for(std::chrono::milliseconds time, bool crashed = false) {
    const auto slot = in();
    now += time;
    slot->leave(now, crashed);
  }
};

}  // namespace

TEST_CASE("cool-down: refused until the second that the refusal names") {
  Door door;
  door.hatch.cooldown = 2500ms;
  door.run_for(100ms);
  const auto refused = door.out();
  CHECK(refused.problem.code == "cooldown");
  CHECK(refused.retry_after == 3);
  door.now += 2499ms;
  CHECK(door.out().retry_after == 1);
  door.now += 1ms;
  door.in();
}

TEST_CASE("busy: the time that its last runs took, and the cool-down after them") {
  Door door;
  door.hatch.cooldown = 2s;
  SECTION("nothing is known yet: its time limit") {
    const auto running = door.in();
    door.now += 10s;
    CHECK(door.out().problem.code == "busy");
    CHECK(door.out().retry_after == 30 - 10 + 3 + 2);  // 3: a run that ignores its limit is killed by then
  }
  SECTION("the longest of the last ones") {
    for (const auto took : {1s, 5s, 2s}) {
      door.run_for(took);
      door.now += 2s;
    }
    const auto running = door.in();
    door.now += 1s;
    const unsigned seconds = door.out().retry_after;
    CHECK(seconds == 4 + 2);
    door.now += 4s;
    running->leave(door.now, false);
    door.now += 2s;
    door.in();
  }
  SECTION("it takes longer than ever: its time limit") {
    door.run_for(1s);
    door.now += 2s;
    const auto running = door.in();
    door.now += 2s;
    CHECK(door.out().retry_after == 30 - 2 + 3 + 2);
  }
}

TEST_CASE("several at once: the first to end makes room, but begins a cool-down") {
  Door door;
  door.hatch.concurrency = 2;
  door.run_for(10s);
  const auto first = door.in();
  door.now += 4s;
  const auto second = door.in();
  CHECK(door.out().retry_after == 6);
  door.hatch.cooldown = 5s;
  CHECK(door.out().retry_after == 15);  // at 6 s the first ends, at 10 s the second: room from 15 s on
}

TEST_CASE("the queue: bounded, in order, and Retry-After tells when one more may join it") {
  Door door;
  door.hatch.queue = 2;
  door.run_for(10s);
  const auto running = door.in();
  const auto first = door.in(), second = door.in();
  CHECK(first->waits());
  CHECK(door.admission.waiting() == 2);
  const auto refused = door.out();
  CHECK(refused.problem.code == "busy");
  CHECK(refused.retry_after == 10);
  CHECK_FALSE(door.starts(first));
  door.now += 10s;
  running->leave(door.now, false);
  CHECK_FALSE(door.starts(second));
  CHECK(door.starts(first));
  CHECK_FALSE(door.starts(second));
  CHECK(door.in()->waits());  // and leaves again
  CHECK(door.admission.waiting() == 1);
  first->leave(door.now, false);
  CHECK(door.starts(second));
  CHECK(door.admission.waiting() == 0);
}

TEST_CASE("whoever waits sits out the cool-down, and nobody overtakes") {
  Door door;
  door.hatch.queue = 1;
  door.hatch.cooldown = 3s;
  const auto running = door.in();
  const auto waiting = door.in();
  door.now += 1s;
  running->leave(door.now, false);
  SteadyTime again;
  CHECK_FALSE(waiting->start(door.now, again));
  CHECK(again == door.now + 3s);
  CHECK(door.out().problem.code == "busy");
  door.now = again;
  CHECK(door.starts(waiting));
}

TEST_CASE("the daemon's own limit holds across hatches, and is given back") {
  Door door({2, 1});
  const auto first = door.in("1");
  const auto second = door.in("2");
  const auto refused = door.out("3");
  CHECK(refused.problem.code == "overloaded");
  CHECK(refused.problem.detail.find("runs.concurrency") != std::string::npos);
  CHECK(refused.retry_after == 33);
  CHECK(door.admission.enter(door.hatch, "1", door.now, true).error().problem.code == "overloaded");
  door.hatch.queue = 1;
  const auto waits = door.in("3");
  CHECK(waits->waits());
  CHECK(door.out("4").problem.code == "overloaded");  // all queues together are full
  CHECK(door.out("1").problem.code == "overloaded");
  CHECK_FALSE(door.starts(waits));
  first->leave(door.now, false);
  CHECK(door.starts(waits));
  CHECK(door.admission.running() == 2);
}

TEST_CASE("a dry run takes a place of the daemon, and none of the target") {
  Door door({2, 0});
  const auto running = door.in();
  {
    const auto dry = door.admission.enter(door.hatch, "web", door.now, true);
    REQUIRE(dry);
    CHECK(door.admission.running() == 2);
  }
  CHECK(door.admission.running() == 1);
}

TEST_CASE("a place is left once, at the latest by the end of its holder") {
  Door door;
  door.hatch.queue = 1;
  {
    const auto running = door.in();
    const auto waiting = door.in();
    running->leave(door.now, false);
    running->leave(door.now, false);
    CHECK(door.admission.running() == 0);
    CHECK(door.admission.waiting() == 1);
  }
  CHECK(door.admission.waiting() == 0);
}

TEST_CASE("repeated crashes: each from the third on earns twice the rest, a run that ends well ends it") {
  Door door;
  door.run_for(1s, true);
  door.run_for(1s, true);
  CHECK(door.admission.resting(door.hatch, door.now).empty());
  for (const unsigned rest : {10u, 20u, 40u, 80u, 160u, 320u, 600u, 600u}) {
    door.run_for(1s, true);
    const auto refused = door.out();
    CHECK(refused.problem.code == "cooldown");
    CHECK(refused.problem.detail.find("times in a row") != std::string::npos);
    CHECK(refused.problem.remedy.find("state=crashed&hatch=a.b") != std::string::npos);
    CHECK(refused.retry_after == rest);
    REQUIRE(door.admission.resting(door.hatch, door.now).size() == 1);
    CHECK(door.admission.resting(door.hatch, door.now)[0].seconds == rest);
    door.in("another target");
    door.now += std::chrono::seconds(rest);
  }
  door.run_for(1s);
  CHECK(door.admission.resting(door.hatch, door.now).empty());
  door.run_for(1s, true);
  door.in();
}
