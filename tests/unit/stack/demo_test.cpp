// The demo program, whose threads sit in functions that we know.
#include <fstream>
#include <iterator>

#include "stack/unwind.hpp"
#include "support.hpp"

using namespace stack_test;

namespace {

struct Known {
  const char *thread, *function, *waiting_on;
};
const Known known[] = {
    {"hatchd-demo", "serve_until_told_to_stop", "rt_sigtimedwait"},
    {"acceptor", "demo::Shop::wait_for_order()", "epoll_wait"},
    {"worker-1", "demo::Shop::take_order_from_queue()", "futex"},
    {"worker-2", "demo::Shop::take_order_from_queue()", "futex"},
    {"worker-3", "demo::Shop::take_order_from_queue()", "futex"},
    {"worker-4", "demo::Shop::take_order_from_queue()", "futex"},
    {"scheduler", "demo::Shop::sleep_until_next_delivery()", "clock_nanosleep"},
    {"cache-sweeper", "demo::Shop::sweep_expired_entries()", "poll"},
    {"logger", "demo::Shop::wait_for_log_line", "read"},
    {"pricer", "demo::Shop::compute_prices()", ""},
};

// All threads in their functions. One that works at the very moment of a dump is elsewhere: the next dump finds it.
bool finds_all(pid_t pid, const stack::Options& options) {
  std::vector<bool> found(std::size(known)), waits(std::size(known));
  return eventually([&] {
    const Dump result = dump(pid, options);
    REQUIRE(!result.process().trouble);
    for (std::size_t i = 0; i < std::size(known); ++i) {
      const int at = result.index(known[i].thread);
      if (at < 0) continue;
      found[i] = found[i] || result.has(known[i].thread, known[i].function);
      waits[i] = waits[i] || result.process().threads[static_cast<std::size_t>(at)].waiting_on == known[i].waiting_on ||
                 !*known[i].waiting_on;
    }
    return std::count(found.begin(), found.end(), false) == 0 && std::count(waits.begin(), waits.end(), false) == 0;
  });
}

void copy_program(const std::string& to) { std::filesystem::copy_file(HATCHD_DEMO, to); }

}  // namespace

TEST_CASE("every thread of the demo is found by name in the function that it sits in") {
  const Demo demo;
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  CHECK(finds_all(demo.pid(), options));
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
}

// From here on the cache sweeper stands for all: it sleeps in poll but for a moment each second.

TEST_CASE("a whole stack leads from the system call to the thread's first function") {
  const Demo demo;
  const Dump result = dump(demo.pid());
  const auto frames = result.frames(static_cast<std::size_t>(result.index("cache-sweeper")));
  REQUIRE(frames.size() > 4);
  CHECK(frames.front().module.starts_with("libc"));
  CHECK(frames.back().module.starts_with("libc"));
  CHECK(!result.digest.processes[0].threads[static_cast<std::size_t>(result.index("cache-sweeper"))].truncated);
  const auto main_frames = result.frames(static_cast<std::size_t>(result.index("hatchd-demo")));
  CHECK(main_frames.back().function == "_start");
}

TEST_CASE("with lines=true file and line and inlined functions are there") {
  const Demo demo;
  stack::Options options;
  options.lines = true;
  const Dump result = dump(demo.pid(), options);
  bool line = false, inlined = false;
  for (const stack::Frame& frame : result.frames(static_cast<std::size_t>(result.index("cache-sweeper")))) {
    line |=
        frame.function == "demo::Shop::sweep_expired_entries()" && frame.file.ends_with("shop.cpp") && frame.line > 0;
    inlined |= frame.inlined && frame.file.ends_with("shop.cpp") && frame.line > 0;
  }
  CHECK(line);
  CHECK(inlined);
}

TEST_CASE("a stripped program gives module and offset") {
  const Folder folder;
  const std::string stripped = folder.file("stripped-demo");
  REQUIRE(std::system(("strip -o " + stripped + " " HATCHD_DEMO).c_str()) == 0);
  const Demo demo{{}, stripped}, whole;
  const Dump result = dump(demo.pid()), reference = dump(whole.pid());
  const auto frames = result.frames(static_cast<std::size_t>(result.index("cache-sweeper")));
  const auto expected = reference.frames(static_cast<std::size_t>(reference.index("cache-sweeper")));
  REQUIRE(frames.size() == expected.size());
  REQUIRE(frames.size() > 2);
  CHECK(expected[1].function == "demo::Shop::sweep_expired_entries()");
  CHECK(frames[1].function.empty());
  CHECK(frames[1].module == "stripped-demo");
  CHECK(frames[1].offset == expected[1].offset);
  char shown[64];
  std::snprintf(shown, sizeof shown, "stripped-demo+0x%llx", static_cast<unsigned long long>(frames[1].offset));
  CHECK(result.text().find(shown) != std::string::npos);
}

TEST_CASE("a program that was deleted or replaced on disk keeps its names") {
  const Folder folder;
  const std::string program = folder.file("old-demo");
  copy_program(program);
  const Demo demo{{}, program};
  std::filesystem::remove(program);
  SECTION("deleted") {}
  SECTION("replaced by something else") { std::ofstream(program) << std::string(100'000, 'x'); }
  const Dump result = dump(demo.pid());
  CHECK(result.has("cache-sweeper", "demo::Shop::sweep_expired_entries()"));
  bool deleted = false;
  for (const stack::Module& module : result.process().modules) deleted |= module.deleted && module.name() == "old-demo";
  CHECK(deleted);
}

TEST_CASE("a thousand threads, each with all its frames") {
  const Demo demo{{"--threads", "1000", "--depth", "20"}};
  stack::Options options;
  SECTION("one thread at a time") {}
  SECTION("all together") { options.pause = stack::Pause::all; }
  const Dump result = dump(demo.pid(), options);
  const auto& threads = result.process().threads;
  REQUIRE(threads.size() >= 1010);
  std::size_t crowd = 0, whole = 0;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    if (!threads[i].name.starts_with("crowd-")) continue;
    ++crowd;
    whole += result.frames(i).size() == 20 && !result.digest.processes[0].threads[i].truncated;
  }
  CHECK(crowd == 1000);
  CHECK(whole == 1000);
  CHECK(eventually([&] { return is_left_alone(demo.pid()); }));
}

TEST_CASE("max_frames cuts a stack and says so") {
  const Demo demo{{"--threads", "1", "--depth", "100"}};
  stack::Options options;
  options.max_frames = 30;
  const Dump result = dump(demo.pid(), options);
  const auto at = static_cast<std::size_t>(result.index("crowd-0"));
  CHECK(result.frames(at).size() == 30);
  CHECK(result.digest.processes[0].threads[at].truncated);
  options.max_frames = 101;
  const Dump longer = dump(demo.pid(), options);
  CHECK(longer.frames(at).size() == 100);
  CHECK(!longer.digest.processes[0].threads[at].truncated);
}

TEST_CASE("pause=none stops nobody: no epoll_wait returns early, and a thread that runs says why it was not read") {
  Demo demo{{"--threads", "8", "--watch"}};
  demo.report();
  stack::Options options;
  options.pause = stack::Pause::none;
  const Dump result = dump(demo.pid(), options);
  CHECK(demo.report().find("\"eintr\": 0}") != std::string::npos);
  CHECK(result.process().paused.count() == 0);
  const auto crowd = static_cast<std::size_t>(result.index("crowd-3"));
  CHECK(result.process().threads[crowd].waiting_on == "epoll_wait");
  CHECK(result.has("crowd-3", "epoll_wait"));
  CHECK(result.has("crowd-3", "blocked_in_epoll_wait"));
  const auto watcher = static_cast<std::size_t>(result.index("watcher"));
  CHECK(!result.process().threads[watcher].registers);
  CHECK(result.process().threads[watcher].error.find("runs") != std::string::npos);

  // Nor does one with the default, which stops the thread that runs alone: the others' stacks are whole without.
  const Dump least = dump(demo.pid());
  CHECK(demo.report().find("\"eintr\": 0}") != std::string::npos);
  for (const char* name : {"crowd-0", "crowd-3", "acceptor"}) {
    const auto at = static_cast<std::size_t>(least.index(name));
    CHECK(least.process().threads[at].held.count() == 0);
    CHECK(!least.process().threads[at].registers->complete);
    CHECK(!least.digest.processes[0].threads[at].truncated);
  }
  CHECK(least.has("crowd-3", "blocked_in_epoll_wait"));
  CHECK(least.process().threads[static_cast<std::size_t>(least.index("watcher"))].held.count() > 0);
  CHECK(least.has("watcher", "watch_the_clock"));

  // The documentation says that a stop does this.
  options.pause = stack::Pause::all;
  dump(demo.pid(), options);
  int early = 0;  // each counts for itself, when it gets a processor
  CHECK(eventually([&] {
    const std::string report = demo.report();
    return (early += std::stoi(report.substr(report.find("\"eintr\": ") + 9))) >= 2;
  }));
  CHECK(early == 2);
}

TEST_CASE("the running thread is seen at work") {
  const Demo demo{{"--watch"}};
  const Dump result = dump(demo.pid());
  CHECK(result.has("watcher", "watch_the_clock"));
  CHECK(result.process().threads[static_cast<std::size_t>(result.index("watcher"))].waiting_on.empty());
}
