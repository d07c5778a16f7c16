// The plugin as hatchd meets it: the shared object, through its one symbol.
#include <dlfcn.h>
#include <sys/ptrace.h>

#include <cstring>

#include "hatch/testing.hpp"
#include "support.hpp"

using namespace stack_test;

namespace {

const hatch_hatch& stack_dump() {
  static void* const object = ::dlopen(HATCHD_STACK_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  REQUIRE(object);
  const auto entry = reinterpret_cast<hatch_plugin_entry_fn>(::dlsym(object, "hatch_plugin_entry"));
  REQUIRE(entry);
  const hatch_plugin* const plugin = entry();
  REQUIRE(plugin);
  CHECK(std::string(plugin->name) == "stack");
  REQUIRE(plugin->hatches[0]);
  REQUIRE(std::string(plugin->hatches[0]->id) == "stack.dump");
  return *plugin->hatches[0];
}

hatch::testing::Answer run(pid_t pid, const hatch::testing::Params& params, const std::string& format = "json") {
  hatch::testing::FakeHost host;
  host.process(pid).max_pause(5s).params(params).format(format);
  return host.call(stack_dump().run);
}

}  // namespace

TEST_CASE("stack.dump says what it is") {
  const hatch_hatch& hatch = stack_dump();
  CHECK(hatch.effect == HATCH_OBSERVE);
  CHECK(hatch.target == HATCH_TARGET_REQUIRED);
  CHECK(hatch.max_pause_us == 250'000);
  CHECK(hatch.timeout_ms == 30'000);
  CHECK(std::string(hatch.renderings[0]) == "folded");
  CHECK(std::string(hatch.parameters).find("\"pause\":{\"type\":\"string\"") != std::string::npos);
  CHECK(hatch.preflight);
}

TEST_CASE("a run drops its rights, closes its pauses and answers with the promised members") {
  const Demo demo;
  const auto answer = run(demo.pid(), {{"pause", "least"}});
  REQUIRE(answer.status == HATCH_OK);
  CHECK(answer.dropped_rights);
  CHECK(!answer.pause_left_open);
  CHECK(answer.pauses < 8);  // the one that works now and then, and whom it woke; the others are read where they sleep
  CHECK(answer.member("mode") == "native");
  CHECK(answer.member("runtime") == "native");
  CHECK((std::stoll(answer.member("paused_us")) > 0) == (answer.pauses > 0));
  CHECK(answer.member("verdict").find("The stacks of 10 threads were read") == 0);
  CHECK(answer.member("threads").find("\"function\":\"demo::Shop::sweep_expired_entries()\"") != std::string::npos);
  CHECK(answer.member("processes").find("\"pid\":" + std::to_string(demo.pid())) != std::string::npos);
  for (const char* step : {"gather", "unwind", "symbols"})
    CHECK(answer.member("steps").find(std::string("\"name\":\"") + step) != std::string::npos);
  CHECK(answer.renderings.at("text").find("\"cache-sweeper\" thread ") != std::string::npos);
}

TEST_CASE("pause=all is one pause, pause=none is none") {
  const Demo demo;
  CHECK(run(demo.pid(), {{"pause", "all"}}).pauses == 1);
  const auto none = run(demo.pid(), {{"pause", "none"}});
  CHECK(none.status == HATCH_OK);
  CHECK(none.pauses == 0);
  CHECK(none.member("verdict").find("nobody was stopped") != std::string::npos);
  // The demo is built without frame pointers: no stack needs a register that is not to be had.
  CHECK(none.member("verdict").find(" of them in part, ") == std::string::npos);
}

TEST_CASE("folded stacks begin with process and thread and end with a count") {
  const Demo demo;
  const auto answer = run(demo.pid(), {}, "folded");
  REQUIRE(answer.renderings.contains("folded"));
  const std::string& folded = answer.renderings.at("folded");
  const std::size_t line = folded.find("hatchd-demo;cache-sweeper;");
  REQUIRE(line != std::string::npos);
  const std::string one = folded.substr(line, folded.find('\n', line) - line);
  CHECK(one.find(";demo::Shop::sweep_cache();demo::Shop::sweep_expired_entries();") != std::string::npos);
  CHECK(one.ends_with(" 1"));
}

TEST_CASE("a traced target is rights-missing, in the run and beforehand") {
  const Demo demo;
  const Child tracer = fork_child([&](const auto& ready) {
    for (const pid_t tid : stack::list_threads(Handles{demo.pid()}.proc_fd.get())) ::ptrace(PTRACE_SEIZE, tid, 0, 0);
    ready();
    for (;;) ::pause();
  });
  const auto answer = run(demo.pid(), {{"pause", "all"}});
  CHECK(answer.status == HATCH_FAILED);
  CHECK(answer.failure.code == "rights-missing");
  CHECK(answer.failure.missing.size() == 1);
  CHECK(!answer.failure.remedy.empty());
  hatch::testing::FakeHost host;
  host.process(demo.pid());
  CHECK(host.call(stack_dump().preflight).failure.code == "rights-missing");
}

TEST_CASE("a cancelled run says so, and preflight tells whether a run would work") {
  const Demo demo;
  hatch::testing::FakeHost host;
  host.process(demo.pid()).max_pause(5s);
  const auto ready = host.call(stack_dump().preflight);
  CHECK(ready.status == HATCH_OK);
  CHECK(ready.pauses == 0);
  host.cancel();
  const auto cancelled = host.call(stack_dump().run);
  CHECK(cancelled.status == HATCH_CANCELLED);
  CHECK(!cancelled.pause_left_open);
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
}

TEST_CASE("a target that has ended fails, run and preflight alike") {
  hatch::testing::FakeHost host;
  {
    const Demo demo;
    host.process(demo.pid()).max_pause(5s);
  }
  const auto answer = host.call(stack_dump().run);
  CHECK(answer.status == HATCH_FAILED);
  CHECK(answer.failure.code == "run-failed");
  CHECK(answer.failure.detail.find("has ended") != std::string::npos);
  CHECK(host.call(stack_dump().preflight).status == HATCH_FAILED);
}

TEST_CASE("of several processes those that can be read are read, and the answer says what is missing") {
  const Demo first, second;
  hatch::testing::FakeHost host;
  host.process(first.pid()).process(second.pid()).max_pause(5s);
  CHECK(host.call(stack_dump().run).member("verdict").find("The stacks of 20 threads were read in 2 processes;") == 0);
  {
    const Demo third;
    host.process(third.pid());
  }
  const auto answer = host.call(stack_dump().run);
  CHECK(answer.status == HATCH_OK);
  CHECK(answer.member("partial") == "true");
  CHECK(answer.member("verdict").find("1 process could not be read") != std::string::npos);
  CHECK(answer.member("processes").find("has ended") != std::string::npos);
}
