// One test for each way to be broken: the outcome has the right name, and the plugin process serves the next run.
#include <signal.h>

#include <chrono>

#include "catch.hpp"
#include "plugin_under_test.hpp"

using namespace hatchd;
namespace json = boost::json;

namespace {

// Whether the process still serves: a run of the same hatch is started and its process begins.
void check_still_serves(PluginUnderTest& plugin, const std::string& hatch) {
  const std::string id = plugin.start(hatch);
  plugin.cancel(id);
  const Seen again = plugin.finish(id);
  CHECK(again.started.contains("pid"));
  CHECK(plugin.process.alive());
}

}  // namespace

TEST_CASE("a run that crashes") {
  PluginUnderTest plugin{"crashes"};
  Seen seen = plugin.run("broken.crashes");
  CHECK(seen.state() == "crashed");
  CHECK(seen.code() == "run-crashed");
  CHECK(seen.detail() == "the run ended with signal 11 (SIGSEGV), before it answered");
  check_still_serves(plugin, "broken.crashes");
}

TEST_CASE("a run that aborts") {
  PluginUnderTest plugin{"aborts"};
  Seen seen = plugin.run("broken.aborts");
  CHECK(seen.state() == "crashed");
  CHECK(seen.detail().find("signal 6 (SIGABRT)") != std::string::npos);
  check_still_serves(plugin, "broken.aborts");
}

TEST_CASE("a run that throws an int inside the C++ header") {
  PluginUnderTest plugin{"throws_int"};
  Seen seen = plugin.run("broken.throws-int");
  CHECK(seen.state() == "failed");
  CHECK(seen.code() == "run-failed");
  CHECK(seen.detail() == "the plugin met its own bug: it threw something that is not a std::exception");
  check_still_serves(plugin, "broken.throws-int");
}

TEST_CASE("an exception that escapes through the C contract is a crash") {
  PluginUnderTest plugin{"escapes"};
  Seen seen = plugin.run("broken.escapes");
  CHECK(seen.state() == "crashed");
  CHECK(seen.detail().find("SIGABRT") != std::string::npos);
  check_still_serves(plugin, "broken.escapes");
}

TEST_CASE("_exit(0) without an answer is no success") {
  PluginUnderTest plugin{"exits_zero"};
  Seen seen = plugin.run("broken.exits-zero");
  CHECK(seen.state() == "crashed");
  CHECK(seen.detail() == "the run ended with exit status 0 without an answer");
  check_still_serves(plugin, "broken.exits-zero");
}

TEST_CASE("a run that hangs is killed after its time") {
  const std::string name = GENERATE("hangs", "busy");
  PluginUnderTest plugin{name, {{"hatches", {{"broken." + name, {{"timeout_ms", 200}}}}}}};
  const auto begin = std::chrono::steady_clock::now();
  Seen seen = plugin.run("broken." + name);
  const auto took = std::chrono::steady_clock::now() - begin;
  CHECK(seen.state() == "timed-out");
  CHECK(seen.code() == "run-timeout");
  CHECK(seen.ended.at("asked") == "deadline");
  CHECK(seen.ended.at("killed") == true);
  CHECK(took >= std::chrono::milliseconds(500));  // 200 and 300 of grace
  CHECK(took < std::chrono::seconds(60));
  check_still_serves(plugin, "broken." + name);
}

TEST_CASE("a run that ignores its cancellation is killed after the grace period") {
  PluginUnderTest plugin{"hangs", {{"hatches", {{"broken.hangs", {{"timeout_ms", 60'000}}}}}}};
  const std::string id = plugin.start("broken.hangs");
  plugin.cancel(id);
  Seen seen = plugin.finish(id);
  CHECK(seen.state() == "cancelled");
  CHECK(seen.code() == "run-cancelled");
  CHECK(seen.ended.at("killed") == true);
  CHECK(seen.detail().find("ignored") != std::string::npos);
  check_still_serves(plugin, "broken.hangs");
}

TEST_CASE("a run that honours its cancellation is not killed") {
  PluginUnderTest plugin{"slow"};
  Seen seen = plugin.run("broken.slow", {}, {}, [&](const std::string& event) {
    if (event == "progress") plugin.cancel(plugin.last_id);
  });
  CHECK(seen.state() == "cancelled");
  CHECK(seen.ended.at("killed") == false);
  CHECK(seen.ended.at("how") == "exit");
  check_still_serves(plugin, "broken.slow");
}

TEST_CASE("a run that honours its deadline has timed out") {
  PluginUnderTest plugin{"slow", {{"hatches", {{"broken.slow", {{"timeout_ms", 100}}}}}}};
  Seen seen = plugin.run("broken.slow");
  CHECK(seen.state() == "timed-out");
  CHECK(seen.ended.at("killed") == false);
}

TEST_CASE("results that are none") {
  SECTION("not JSON") {
    PluginUnderTest plugin{"bad_json"};
    Seen seen = plugin.run("broken.bad-json");
    CHECK(seen.state() == "failed");
    CHECK(seen.code() == "run-failed");
    CHECK(seen.detail().find("the plugin returned an invalid result: not JSON") == 0);
    check_still_serves(plugin, "broken.bad-json");
  }
  SECTION("no verdict") {
    PluginUnderTest plugin{"invalid_result"};
    Seen seen = plugin.run("broken.invalid-result");
    CHECK(seen.state() == "failed");
    CHECK(seen.detail() == "the plugin returned an invalid result: no member \"verdict\" with a sentence");
    CHECK(seen.outcome.result().empty());
    check_still_serves(plugin, "broken.invalid-result");
  }
}

TEST_CASE("what a run leaves behind is gone when its end is told") {
  PluginUnderTest plugin{"forks_and_leaves"};
  Seen seen = plugin.run("broken.forks-and-leaves");
  REQUIRE(seen.state() == "succeeded");
  const json::object result = seen.result();
  for (const char* name : {"child", "daemon"}) {
    const auto pid = static_cast<pid_t>(result.at(name).as_int64());
    CAPTURE(name, pid);
    CHECK(pid > 1);
    CHECK(::kill(pid, 0) == -1);
  }
  check_still_serves(plugin, "broken.forks-and-leaves");
}

TEST_CASE("sweeping behind one run spares another") {
  PluginUnderTest plugin{"slow"};
  const std::string first = plugin.start("broken.slow"), second = plugin.start("broken.slow");
  plugin.cancel(first);
  CHECK(plugin.finish(first).state() == "cancelled");
  plugin.cancel(second);
  Seen seen = plugin.finish(second);
  CHECK(seen.state() == "cancelled");
  CHECK(seen.ended.at("how") == "exit");
}

TEST_CASE("a run that holds its target too long is killed") {
  PluginUnderTest plugin{"overstays"};
  const auto begin = std::chrono::steady_clock::now();
  Seen seen = plugin.run("broken.overstays", {}, {{"target", "web"}});
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));  // its time limit is 20 s
  CHECK(seen.state() == "failed");
  CHECK(seen.code() == "run-failed");
  CHECK(seen.detail() == "the run held the target longer than its pause budget and was killed");
  CHECK(seen.ended.at("asked") == "pause");
  CHECK(seen.outcome.longest_pause_us() >= 300'000);  // 50 ms of budget and 250 ms of slack
  CHECK(seen.outcome.longest_pause_us() < 10'000'000);
}

TEST_CASE("a run that floods its log is cut off, not believed less, and the caller is told how much is missing") {
  PluginUnderTest plugin{"floods_log"};
  Seen seen = plugin.run("broken.floods-log");
  CHECK(seen.state() == "succeeded");
  CHECK(seen.events.size() <= 10'001);
  std::size_t bytes = 0;
  for (const json::object& event : seen.events) bytes += json::serialize(event).size();
  CHECK(bytes < 24 * 1024 * 1024);
  const std::string last = std::string(seen.events.back().at("message").as_string());
  CHECK(last.find("more events were dropped") != std::string::npos);
  check_still_serves(plugin, "broken.floods-log");
}

TEST_CASE("a huge result is none") {
  PluginUnderTest plugin{"huge_result"};
  Seen seen = plugin.run("broken.huge-result");
  CHECK(seen.state() == "failed");
  CHECK(seen.code() == "run-failed");
  CHECK(seen.detail() == "the plugin returned an invalid result: more than 64 MiB");
  check_still_serves(plugin, "broken.huge-result");
}

TEST_CASE("a run that closes every descriptor is not heard any more, and has crashed") {
  PluginUnderTest plugin{"closes_everything"};
  Seen seen = plugin.run("broken.closes-everything");
  CHECK(seen.state() == "crashed");
  CHECK(seen.code() == "run-crashed");
  CHECK(seen.detail() == "the run ended with exit status 0 without an answer");
  check_still_serves(plugin, "broken.closes-everything");
}

TEST_CASE("a plugin of a later minor version works") {
  PluginUnderTest plugin{"future_minor"};
  Seen seen = plugin.run("broken.future-minor");
  CHECK(seen.state() == "succeeded");
  CHECK(seen.result().at("verdict") == "did without what is not there yet");
}

TEST_CASE("aborting in a destructor: of a hatch it is its run's crash, of a static object nobody's") {
  PluginUnderTest plugin{"aborts_in_destructor", {{"idle_ms", 1000}}};
  Seen seen = plugin.run("broken.aborts-in-destructor");
  CHECK(seen.state() == "crashed");
  CHECK(seen.detail().find("signal 6 (SIGABRT)") != std::string::npos);
  CHECK(plugin.process.end() == "exit status 10");  // idle
}
