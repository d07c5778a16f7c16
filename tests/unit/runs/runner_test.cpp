#include "runs/runner.hpp"

#include <fcntl.h>

#include <atomic>
#include <future>

#include "catch.hpp"
#include "fake_plugin.hpp"
#include "house.hpp"
#include "runs/journal.hpp"

using namespace hatchd;
using namespace hatchd::runs;
using namespace std::chrono_literals;

namespace {

// A run that has begun and does not end before `over` is set.
auto runs_until(std::promise<void>& over) {
  return [done = over.get_future().share()](FakeRun& run) {
    run.started();
    done.wait();
    return false;
  };
}

}  // namespace

TEST_CASE("a run that succeeds is recorded with its result, its text and its target") {
  House house;
  house.acts = {succeed};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::succeeded);
  CHECK_FALSE(run.error);
  CHECK(run.target_pid == 42);
  CHECK(run.paused_us == 77);
  CHECK(run.verdict == "all is well");
  CHECK(run.renderings == std::vector<std::string>{"text"});
  CHECK(house.stored(run, "result.txt") == "all is well\n");
  CHECK(parse_json(house.stored(run, "result.json"))->at("threads").as_array().size() == 2);
  const Run kept = *house.disk.read_record(run.id);
  CHECK(kept.state == State::succeeded);
  CHECK_FALSE(kept.finished.empty());
  CHECK(text_of(kept.params, "secret") == "******");
  CHECK(house.store.find(run.id)->state == State::succeeded);
}

TEST_CASE("renderings are fit for a terminal, whoever wrote them") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    run.result(R"({"verdict":"all is well","name":"\u202egpj.exe"})");
    run.rendering("text", "all\x1b[2J is\u202e well\n");
    run.closing("ok");
    run.ended();
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(house.stored(run, "result.txt") == "all\uFFFD[2J is\uFFFD well\n");
  CHECK(house.stored(run, "result.json").find("\"\\u202egpj.exe\"") != std::string::npos);
}

TEST_CASE("a plugin's process serves one run after the other") {
  House house;
  house.acts = {succeed};
  for (int i = 0; i < 3; ++i) CHECK(house.run_to_end(house.order()).state == State::succeeded);
  CHECK(house.asked == 1);
}

TEST_CASE("a run is over when it has answered, and the end of its process is not waited for") {
  House house;
  house.hatch.concurrency = 1;
  std::vector<link::Channel> lingering;
  house.acts = {[&](FakeRun& run) {
    run.started();
    run.result(R"({"verdict":"all is well"})");
    run.closing("ok");
    lingering.push_back(std::move(run.channel));
    return true;
  }};
  for (int i = 0; i < 2; ++i) {
    const Run run = house.run_to_end(house.order());
    CHECK(run.state == State::succeeded);
    CHECK(run.paused_us == 77);
    CHECK(house.disk.read_record(run.id)->state == State::succeeded);
  }
  CHECK(lingering.size() == 2);
}

TEST_CASE("the run gets what was ordered") {
  House house;
  json::object start;
  house.acts = {[&](FakeRun& run) {
    start = run.start.body;
    return succeed(run);
  }};
  Order order = house.order();
  order.processes = "main";
  order.profile = "p";
  order.format = "folded";
  house.run_to_end(std::move(order));
  CHECK(text_of(start, "hatch") == "stack.dump");
  CHECK(text_of(*object_of(start, "params"), "secret") == "clear");
  CHECK(text_of(start, "target") == "web");
  CHECK(text_of(start, "processes") == "main");
  CHECK(text_of(start, "profile") == "p");
  CHECK(text_of(start, "format") == "folded");
  CHECK_FALSE(flag_of(start, "preflight"));
}

TEST_CASE("ways not to succeed") {
  struct Row {
    const char* name;
    FakePlugin::Act act;
    State state;
    std::string code, detail;
  };
  const std::vector<Row> rows{
      {"it says so",
       [](FakeRun& run) {
         run.started();
         run.result(R"({"verdict":"got this far"})");
         run.closing("failed", {{"code", "run-failed"}, {"detail", "550 no"}, {"remedy", "ask them"}});
         run.ended();
         return true;
       },
       State::failed, "run-failed", "550 no"},
      {"it lacks a right",
       [](FakeRun& run) {
         run.started();
         run.closing("failed", {{"code", "rights-missing"}, {"detail", "no ptrace"}});
         run.ended();
         return true;
       },
       State::failed, "rights-missing", "no ptrace"},
      {"it crashes",
       [](FakeRun& run) {
         run.started();
         run.ended("signal", 11);
         return true;
       },
       State::crashed, "run-crashed", "SIGSEGV"},
      {"it leaves quietly",
       [](FakeRun& run) {
         run.started();
         run.ended("exit", 0);
         return true;
       },
       State::crashed, "run-crashed", "without an answer"},
      {"it is out of time",
       [](FakeRun& run) {
         run.started();
         run.ended("signal", 9, "deadline");
         return true;
       },
       State::timed_out, "run-timeout", ""},
      {"its result is no JSON",
       [](FakeRun& run) {
         run.started();
         run.result("{\"verdict\": \"x\", ");
         run.closing("ok");
         run.ended();
         return true;
       },
       State::failed, "run-failed", "invalid result"},
      {"it is refused",
       [](FakeRun& run) {
         run.plugin.send("refused",
                         {{"run", run.id}, {"problem", {{"code", "target-gone"}, {"detail", "web is gone"}}}});
         return true;
       },
       State::failed, "target-gone", "web is gone"},
      {"it is refused with a code that is not the plugin's to use",
       [](FakeRun& run) {
         run.plugin.send("refused", {{"run", run.id}, {"problem", {{"code", "overloaded"}, {"detail", "retry me"}}}});
         return true;
       },
       State::failed, "run-failed", "retry me"},
      {"the plugin's process dies with it",
       [](FakeRun& run) {
         run.started();
         return false;
       },
       State::crashed, "run-crashed", "plugin's process"},
      {"it ends itself on its own channel, which counts for nothing",
       [](FakeRun& run) {
         run.started();
         run.channel.send("ended", {{"how", "exit"}, {"status", 0}});
         run.ended("signal", 6);
         return true;
       },
       State::crashed, "run-crashed", "SIGABRT"},
  };
  for (const Row& row : rows) {
    SECTION(row.name) {
      House house;
      house.acts = {row.act};
      const Run run = house.run_to_end(house.order());
      CHECK(run.state == row.state);
      REQUIRE(run.error);
      CHECK(run.error->code == row.code);
      CHECK(run.error->detail.find(row.detail) != std::string::npos);
      CHECK(house.disk.read_record(run.id)->state == row.state);
    }
  }
}

TEST_CASE("a failed run keeps its result as far as it came") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    run.result(R"({"verdict":"got this far"})");
    run.closing("failed", {{"detail", "no"}});
    run.ended();
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::failed);
  CHECK(run.has_result);
  CHECK(parse_json(house.stored(run, "result.json"))->at("verdict") == "got this far");
}

TEST_CASE("what a run says before its end is heard, even when `ended` comes first") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    run.plugin.send("ended", {{"run", run.id}, {"how", "exit"}, {"status", 0}, {"asked", nullptr}});
    std::this_thread::sleep_for(50ms);
    run.result(R"({"verdict":"late"})");
    run.closing("ok");
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::succeeded);
  CHECK(run.verdict == "late");
}

TEST_CASE("a plugin's process that left between is asked for again, once") {
  House house;
  const auto leave = [](FakeRun& run) {
    run.channel.close();
    return false;
  };
  SECTION("then it runs") {
    house.acts = {leave, succeed};
    CHECK(house.run_to_end(house.order()).state == State::succeeded);
    CHECK(house.asked == 2);
  }
  SECTION("also when it says that it is about to leave") {
    const auto announce = [](FakeRun& run) {
      run.plugin.send("refused", {{"run", run.id}, {"problem", {{"code", "shutting-down"}, {"detail", "leaving"}}}});
      return false;
    };
    house.acts = {announce, succeed};
    CHECK(house.run_to_end(house.order()).state == State::succeeded);
    CHECK(house.asked == 2);
  }
  SECTION("and no more than once") {
    house.acts = {leave, leave, succeed};
    const Run run = house.run_to_end(house.order());
    CHECK(run.state == State::crashed);
    CHECK(house.asked == 2);
  }
}

TEST_CASE("a plugin that cannot be started fails the run with the reason") {
  House house;
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::failed);
  CHECK(run.error->code == "run-failed");
  CHECK(run.error->detail.find("it does not load") != std::string::npos);
}

TEST_CASE("a hanging plugin process does not keep a run for ever") {
  House house(Limits{100ms, 100ms});
  house.hatch.timeout = 100ms;
  std::promise<void> over;
  house.acts = {runs_until(over)};
  const Run run = house.run_to_end(house.order());
  over.set_value();
  CHECK(run.state == State::crashed);
  CHECK(run.error->detail.find("did not answer in time") != std::string::npos);
}

TEST_CASE("artifacts are in the record with size and digest once committed, and not otherwise") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    const auto ask = [&](int tag, const char* name) {
      run.channel.send("artifact", {{"tag", tag}, {"name", name}, {"media_type", "text/plain"}});
      return FakeRun::next(run.channel);
    };
    link::Message first = ask(1, "a.txt");
    write_all(first.fds.at(0).get(), "abc");
    run.channel.send("commit", {{"tag", 10}, {"of", 1}});
    json::object said{{"commit", FakeRun::next(run.channel).type}};
    ask(2, "forgotten");
    ask(3, "aborted");
    run.channel.send("abort", {{"of", 3}});
    said["escape"] = ask(4, "../x").type;
    said["twice"] = ask(5, "a.txt").type;
    run.channel.send("commit", {{"tag", 11}, {"of", 99}});
    said["nothing"] = FakeRun::next(run.channel).type;
    said["verdict"] = "v";
    run.result(json::serialize(said));
    run.closing("ok");
    run.ended();
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(parse_json(house.stored(run, "result.json"))->at("commit") == "committed");
  for (const char* refused : {"escape", "twice", "nothing"})
    CHECK(parse_json(house.stored(run, "result.json"))->at(refused) == "refused");
  REQUIRE(run.artifacts.size() == 1);
  CHECK(run.artifacts[0].name == "a.txt");
  CHECK(run.artifacts[0].bytes == 3);
  CHECK(run.artifacts[0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(house.folder.path / run.id / "artifacts"))
    ++files;
  CHECK(files == 1);
}

TEST_CASE("cancelling reaches the plugin, and the run ends as it says") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    const link::Message cancel = FakeRun::next(run.plugin);
    if (cancel.type == "cancel" && text_of(cancel.body, "run") == run.id) run.closing("cancelled");
    run.ended("exit", 0, "cancelled");
    return true;
  }};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr live = *house.runner.start(house.order());
    while (live->run.state == State::queued) co_await live->changed.wait();
    house.runner.cancel(live);
    co_await house.runner.wait(live);
    CHECK(live->run.state == State::cancelled);
    CHECK(live->run.error->code == "run-cancelled");
  });
}

TEST_CASE("a run that is cancelled before its process began is cancelled, not failed") {
  House house;
  house.acts = {[](FakeRun& run) {
    FakeRun::next(run.plugin);
    run.plugin.send("refused",
                    {{"run", run.id}, {"problem", {{"code", "run-cancelled"}, {"detail", "before it began"}}}});
    return true;
  }};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr live = *house.runner.start(house.order());
    while (!live->link) co_await live->changed.wait(std::chrono::steady_clock::now() + 5ms);
    house.runner.cancel(live);
    co_await house.runner.wait(live);
    CHECK(live->run.state == State::cancelled);
    CHECK(live->run.error->code == "run-cancelled");
  });
}

TEST_CASE("limits: concurrency and cool-down for each hatch and target") {
  House house;
  house.hatch.concurrency = 1;
  house.hatch.cooldown = 60s;
  house.acts = {succeed};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr live = *house.runner.start(house.order());
    const auto busy = house.runner.start(house.order());
    CHECK(busy.error().problem.code == "busy");
    CHECK(busy.error().retry_after >= 1);
    const auto other = house.runner.start(house.order("db"));
    CHECK(other.has_value());
    co_await house.runner.wait(live);
    co_await house.runner.wait(*other);
    const auto early = house.runner.start(house.order());
    CHECK(early.error().problem.code == "cooldown");
    CHECK(early.error().retry_after >= 40);
    CHECK(early.error().retry_after <= 60);
    Order dry = house.order();
    dry.preflight = true;
    const auto preflight = house.runner.start(std::move(dry));
    CHECK(preflight.has_value());
    co_await house.runner.wait(*preflight);
  });
}

TEST_CASE("a queued run waits for its turn, in order, and is queued until then") {
  House house;
  house.hatch.concurrency = 1;
  house.hatch.queue = 2;
  std::promise<void> go_on;
  bool first = true;
  house.acts = {[&, wait = go_on.get_future().share()](FakeRun& run) {
    if (std::exchange(first, false)) wait.wait();
    return succeed(run);
  }};
  house.go([&]() -> asio::awaitable<void> {
    std::vector<LivePtr> lives;
    for (int i = 0; i < 3; ++i) lives.push_back(*house.runner.start(house.order()));
    const auto full = house.runner.start(house.order());
    CHECK(full.error().problem.code == "busy");
    CHECK(full.error().problem.detail.find("2 wait") != std::string::npos);
    CHECK(lives[1]->run.state == State::queued);
    while (!lives[0]->link) co_await lives[0]->changed.wait(std::chrono::steady_clock::now() + 5ms);
    CHECK_FALSE(lives[1]->link);
    go_on.set_value();
    co_await house.runner.wait(lives[2]);
    for (const LivePtr& live : lives) CHECK(live->run.state == State::succeeded);
    CHECK(lives[1]->run.started <= lives[2]->run.started);
  });
  CHECK(house.asked == 1);
}

TEST_CASE("a queued run can be cancelled, and a stop ends it, without its process ever being asked for") {
  House house;
  house.hatch.concurrency = 1;
  house.hatch.queue = 5;
  std::promise<void> over;
  std::atomic<int> begun = 0;
  house.acts = {[&, done = over.get_future().share()](FakeRun& run) {
    ++begun;
    run.started();
    done.wait();
    return false;
  }};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr running = *house.runner.start(house.order());
    const LivePtr cancelled = *house.runner.start(house.order());
    const LivePtr stopped = *house.runner.start(house.order());
    while (running->run.state == State::queued) co_await running->changed.wait();
    house.runner.cancel(cancelled);
    co_await house.runner.wait(cancelled);
    CHECK(cancelled->run.state == State::cancelled);
    CHECK(cancelled->run.error->detail == "the run was cancelled while it waited for its turn");
    CHECK(cancelled->run.started.empty());
    co_await house.runner.stop(std::chrono::steady_clock::now() + 100ms);
    CHECK(stopped->run.state == State::cancelled);
    CHECK(stopped->run.error->detail == "hatchd stopped while the run waited for its turn");
    CHECK(house.disk.read_record(stopped->run.id)->state == State::cancelled);
  });
  over.set_value();
  CHECK(begun == 1);
}

TEST_CASE("a run is listed as running as soon as it says so") {
  House house;
  std::promise<void> over;
  house.acts = {runs_until(over)};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr run = *house.runner.start(house.order());
    while (run->run.state == State::queued) co_await run->changed.wait();
    Store::Query running;
    running.state = State::running;
    const Runner::Listed listed = co_await house.runner.list(running);
    CHECK(listed.runs.size() == 1);
    co_await house.runner.stop(std::chrono::steady_clock::now() + 100ms);
  });
  over.set_value();
}

TEST_CASE("a hatch that crashes again and again rests, and then gets one try") {
  House house;
  const auto crash = [](FakeRun& run) {
    run.started();
    run.ended("signal", 11);
    return true;
  };
  house.acts = {crash};
  for (unsigned i = 0; i < Admission::tolerated_crashes; ++i)
    CHECK(house.run_to_end(house.order()).state == State::crashed);
  const auto refused = house.runner.start(house.order());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().problem.code == "cooldown");
  CHECK(refused.error().problem.detail.find("stack.dump on web crashed 3 times in a row and rests for") == 0);
  CHECK(refused.error().retry_after >= 9);
  CHECK(refused.error().retry_after <= 10);
  const auto resting = house.runner.resting(house.hatch);
  REQUIRE(resting.size() == 1);
  CHECK(resting[0].target == "web");
  CHECK(resting[0].crashes == 3);
  house.go([&]() -> asio::awaitable<void> {
    const auto elsewhere = house.runner.start(house.order("db"));
    CHECK(elsewhere.has_value());
    co_await house.runner.wait(*elsewhere);
  });
}

TEST_CASE("a plugin whose process ended again and again is left alone until its rest is over") {
  House house;
  house.plugins.ended("stack", 1, "signal 11 (SIGSEGV)", 1s);  // short enough to be waited for
  house.acts = {succeed};
  CHECK(house.run_to_end(house.order()).state == State::succeeded);
  House other;
  other.plugins.ended("stack", 1, "signal 11 (SIGSEGV)", 30s);
  const auto refused = other.runner.start(other.order());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().problem.code == "cooldown");
  CHECK(refused.error().retry_after >= 20);
  CHECK(refused.error().retry_after <= 30);
}

TEST_CASE("whoever sees the end of a run may start the next, though its record is still being written") {
  House house;
  house.hatch.concurrency = 1;
  house.acts = {succeed};
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr live = *house.runner.start(house.order());
    while (!is_over(live->run.state)) co_await live->changed.wait(std::chrono::steady_clock::now());
    const auto next = house.runner.start(house.order());
    CHECK(next.has_value());
    co_await house.runner.wait(live);
    if (next) co_await house.runner.wait(*next);
  });
}

TEST_CASE("parameters that are too large for the record are left out of it, not of the run") {
  House house;
  std::size_t got = 0;
  house.acts = {[&](FakeRun& run) {
    got = text_of(*object_of(run.start.body, "params"), "text").size();
    return succeed(run);
  }};
  json::object masked;
  SECTION("by their text") { masked["text"] = std::string(300 * 1024, 'x'); }
  SECTION("by their depth") {
    json::array deep(30'000, json::value(0));
    for (int i = 0; i < 20; ++i) deep = json::array{json::value(std::move(deep))};
    masked["text"] = std::move(deep);
  }
  Order order = house.order();
  order.params = {{"text", "short"}};
  order.masked = std::move(masked);
  const Run run = house.run_to_end(std::move(order));
  CHECK(run.state == State::succeeded);
  CHECK(run.stored);
  CHECK(got == 5);
  const auto kept = house.disk.read_record(run.id);
  REQUIRE(kept);
  CHECK(text_of(kept->params, "parameters_left_out").find(" bytes") != std::string::npos);
  CHECK(kept->params.size() == 1);
}

TEST_CASE("a dry run leaves no trace") {
  House house;
  house.acts = {succeed};
  Order dry = house.order();
  dry.preflight = true;
  const Run run = house.run_to_end(std::move(dry));
  CHECK(run.state == State::succeeded);
  CHECK(house.store.size() == 0);
  CHECK(house.disk.ids().empty());
}

TEST_CASE("stopping cancels and records what runs, and what does not end is recorded as it stands") {
  House house;
  std::promise<void> over;
  house.acts = {runs_until(over)};
  std::string id;
  house.go([&]() -> asio::awaitable<void> {
    const LivePtr live = *house.runner.start(house.order());
    id = live->run.id;
    while (live->run.state == State::queued) co_await live->changed.wait();
    co_await house.runner.stop(std::chrono::steady_clock::now() + 200ms);
    CHECK(house.runner.start(house.order()).error().problem.code == "shutting-down");
  });
  over.set_value();
  CHECK(house.disk.read_record(id)->state == State::cancelled);
}

TEST_CASE("a disk that refuses: looking goes on in memory, acting is not started") {
  House house;
  house.acts = {succeed};
  std::filesystem::remove_all(house.folder.path);  // mkdirat() fails in a removed directory, for root too
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::succeeded);
  CHECK_FALSE(run.stored);
  house.go([&]() -> asio::awaitable<void> {
    const auto text = co_await house.runner.read(run.id, "result.txt");
    CHECK(text.value_or("") == "all is well\n");
  });
  const Run acted = house.run_to_end(house.order("web", schema::Effect::act));
  CHECK(acted.state == State::failed);
  CHECK(acted.error->code == "no-space");
}

TEST_CASE("a last record that the disk refuses is tried again until it is written") {
  House house;
  std::filesystem::path in_the_way;
  house.acts = {[&](FakeRun& run) {
    in_the_way = house.folder_of(run) / "run.json.tmp";
    std::filesystem::create_directory(in_the_way);  // open(2): EISDIR
    return succeed(run);
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::succeeded);
  CHECK_FALSE(run.stored);
  CHECK(house.disk.read_record(run.id)->state == State::queued);
  std::filesystem::remove(in_the_way);
  const auto limit = std::chrono::steady_clock::now() + 20s;
  house.io.restart();
  while (house.disk.read_record(run.id)->state != State::succeeded && std::chrono::steady_clock::now() < limit)
    house.io.run_one_for(100ms);
  const auto record = house.disk.read_record(run.id);
  CHECK(record->state == State::succeeded);
  CHECK(record->stored);
  CHECK(record->has_result);
}

TEST_CASE("a last record that can never be written keeps no other back") {
  House house;
  std::vector<std::filesystem::path> in_the_way;
  house.acts = {[&](FakeRun& run) {
    in_the_way.push_back(house.folder_of(run) / "run.json.tmp");
    std::filesystem::create_directory(in_the_way.back());
    return succeed(run);
  }};
  const Run first = house.run_to_end(house.order()), second = house.run_to_end(house.order());
  REQUIRE(in_the_way.size() == 2);
  CHECK_FALSE(first.stored);
  CHECK_FALSE(second.stored);
  std::filesystem::remove(in_the_way[1]);
  const auto limit = std::chrono::steady_clock::now() + 20s;
  house.io.restart();
  while (house.disk.read_record(second.id)->state != State::succeeded && std::chrono::steady_clock::now() < limit)
    house.io.run_one_for(100ms);
  CHECK(house.disk.read_record(second.id)->state == State::succeeded);
  CHECK(house.disk.read_record(first.id)->state == State::queued);
}

TEST_CASE("a run that says more at once than a run may is heard no more") {
  House house;
  house.acts = {[](FakeRun& run) {
    run.started();
    run.channel.send("event", {{"event", "output"}, {"text", std::string(600'000, 'x')}});
    run.result(R"({"verdict":"all is well"})");
    run.closing("ok");
    run.ended();
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::crashed);  // its `closing` was not taken
}

TEST_CASE("what little a run said lies in its record") {
  House house;
  house.acts = {succeed};
  const Run run = house.run_to_end(house.order());
  CHECK_FALSE(std::filesystem::exists(house.folder.path / run.id / "result.json"));
  const auto record = house.disk.read_record(run.id);
  REQUIRE(record);
  CHECK(record->texts.at("result.txt") == "all is well\n");
  CHECK(record->texts.at(events_file).find("half") != std::string::npos);
  CHECK(record->bytes == 0);
  // All of its events, also those that it tells only when the record is there.
  CHECK_FALSE(std::filesystem::exists(house.folder.path / run.id / events_file));
  auto file = house.disk.open_file(run.id, events_file);
  REQUIRE(file);
  Journal journal(std::move(*file));
  std::vector<std::string> types;
  while (const auto line = journal.next()) {
    const auto event = event_of(*line);
    REQUIRE(event);
    CHECK(event->number == types.size() + 1);
    types.push_back(event->type);
  }
  REQUIRE(types.size() == 5);
  CHECK(std::count(types.begin(), types.end(), "progress") == 1);
  CHECK(types[3] == "state");
  CHECK(types[4] == "result");
  CHECK(house.disk.read(run.id, "rendering.none").error().code == "run-unknown");
  // Another change of the record loses nothing.
  History::Counts counts;
  const auto back = read_back(house.disk, run.id, counts);
  REQUIRE(back);
  CHECK(back->has_result);
  REQUIRE(house.disk.write_record(*back, false));
  CHECK(house.stored(run, "result.txt") == "all is well\n");
}

TEST_CASE("a result that the disk refuses stays in memory, and the record is written without it") {
  House house;
  house.acts = {[&](FakeRun& run) {
    std::filesystem::create_directory(house.folder_of(run) / "result.txt.tmp");  // open(2): EISDIR
    run.started();
    run.result(R"({"verdict":"all is well"})");
    run.rendering("text", std::string(10'000, 'x'));  // too much for the record
    run.closing("ok");
    run.ended();
    return true;
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::succeeded);
  CHECK_FALSE(run.stored);
  house.go([&]() -> asio::awaitable<void> {
    const auto text = co_await house.runner.read(run.id, "result.json");
    CHECK(text.value_or("").find("all is well") != std::string::npos);
  });
  const auto record = house.disk.read_record(run.id);
  REQUIRE(record);
  CHECK(record->state == State::succeeded);
  CHECK_FALSE(record->has_result);
  CHECK(record->renderings.empty());
  CHECK_FALSE(std::filesystem::exists(house.folder.path / run.id / "result.json"));
  CHECK(record->stored == false);  // so that nobody takes it for a run without a result
  History::Counts counts;
  REQUIRE(read_back(house.disk, run.id, counts));
  CHECK(counts.interrupted == 0);
}

namespace {

// Opens an artifact; what hatchd says to that is in its result.
bool leave_a_file(FakeRun& run) {
  run.started();
  run.channel.send("artifact", {{"tag", 1}, {"name", "a"}, {"media_type", "text/plain"}});
  const link::Message answer = FakeRun::next(run.channel);
  if (answer.type == "refused") {
    run.closing("failed", {{"code", "run-failed"}, {"detail", "artifact: no space"}});
  } else {
    run.channel.send("commit", {{"tag", 2}, {"of", 1}});
    FakeRun::next(run.channel);
    run.result(R"({"verdict":"left a file"})");
    run.closing("ok");
  }
  run.ended();
  return true;
}

std::string code_of(const Run& run) { return run.error ? run.error->code : ""; }

}  // namespace

TEST_CASE("below min_free: looking goes on in memory, acting is recorded, artifacts are refused") {
  House house({}, MinFree{100, 0});
  house.acts = {[](FakeRun& run) {
    return text_of(*object_of(run.start.body, "params"), "file") == "yes" ? leave_a_file(run) : succeed(run);
  }};
  const Run looked = house.run_to_end(house.order());
  CHECK(looked.state == State::succeeded);
  CHECK_FALSE(looked.stored);
  CHECK(house.disk.ids().empty());
  house.go([&]() -> asio::awaitable<void> {
    const Store::Query all;
    const Runner::Listed listed = co_await house.runner.list(all);
    REQUIRE(listed.runs.size() == 1);
    CHECK(listed.runs[0].id == looked.id);
  });
  const Run acted = house.run_to_end(house.order("web", schema::Effect::act));
  CHECK(acted.state == State::succeeded);
  CHECK(acted.stored);
  CHECK(house.disk.read_record(acted.id));
  for (const auto effect : {schema::Effect::observe, schema::Effect::act}) {
    Order order = house.order("web", effect);
    order.params["file"] = "yes";
    const Run refused = house.run_to_end(std::move(order));
    CHECK(refused.state == State::failed);
    CHECK(code_of(refused) == "no-space");
    CHECK(refused.artifacts.empty());
  }
  // Memory is the only place of the first; when it is out of it, nobody lists it.
  for (int i = 0; i < 70; ++i) house.run_to_end(house.order());
  CHECK_FALSE(house.store.find(looked.id));
  CHECK(house.store.find(acted.id));
}

TEST_CASE("a run that fills the disk is asked to end, and its file is gone") {
  House house({}, MinFree{0, 0});
  house.acts = {[&](FakeRun& run) {
    run.started();
    run.channel.send("artifact", {{"tag", 1}, {"name", "a"}, {"media_type", "text/plain"}});
    const link::Message answer = FakeRun::next(run.channel);
    house.disk.set_min_free({100, 0});  // as if others had taken the room
    const bool told = FakeRun::next(run.plugin).type == "cancel";
    run.closing(told ? "cancelled" : "failed");
    run.ended("exit", 0, told ? json::value("cancelled") : json::value(nullptr));
    return true;
  }};
  const Run run = house.run_to_end(house.order("web", schema::Effect::act));
  CHECK(run.state == State::failed);
  CHECK(code_of(run) == "no-space");
  CHECK(run.artifacts.empty());
  CHECK_FALSE(house.disk.open_artifact(run.id, 1));
}

TEST_CASE("an artifact is in the record on disk as soon as it is committed, so that it outlives a crash") {
  House house;
  std::string files;
  house.acts = {[&](FakeRun& run) {
    run.started();
    run.channel.send("artifact", {{"tag", 1}, {"name", "a"}, {"media_type", "text/plain"}});
    const link::Message answer = FakeRun::next(run.channel);
    ::fcntl(answer.fds.at(0).get(), F_SETFL, O_APPEND);  // as the SDK does: hashed while it grows
    write_all(answer.fds.at(0).get(), "first ");
    std::this_thread::sleep_for(600ms);
    write_all(answer.fds.at(0).get(), "second");
    run.channel.send("commit", {{"tag", 2}, {"of", 1}});
    FakeRun::next(run.channel);
    files = run.id;
    const auto record = Disk::open(house.folder.fd.get())->read_record(run.id);
    if (record && record->artifacts.size() == 1) files += " " + record->artifacts[0].sha256;
    return false;  // crashes
  }};
  const Run run = house.run_to_end(house.order());
  CHECK(run.state == State::crashed);
  CHECK(files == run.id + " " + sha256("first second"));
  REQUIRE(run.artifacts.size() == 1);
  CHECK(run.artifacts[0].bytes == 12);
}

TEST_CASE("a key is on disk before its run starts") {
  House house;
  bool there = false;
  const Keys::Key key = Keys::make("alice", "stack.dump", "web", "k", {});
  house.acts = {[&](FakeRun& run) {
    Keys keys(house.disk);
    keys.load(std::chrono::system_clock::now(), std::chrono::steady_clock::now());
    const auto first = keys.first(key, std::chrono::steady_clock::now());
    there = first && *first && **first == run.id && house.disk.read_record(run.id);
    return succeed(run);
  }};
  Order order = house.order("web", schema::Effect::act);
  order.key = key;
  house.run_to_end(std::move(order));
  CHECK(there);
}

TEST_CASE("a run that is over holds no channel and no raw result, and what the disk refused has a bound") {
  Limits limits;
  limits.kept = 100;  // one result and its text are a little less
  House house(limits);
  house.acts = {succeed};
  std::filesystem::remove_all(house.folder.path);
  const Run first = house.run_to_end(house.order()), second = house.run_to_end(house.order());
  const LivePtr older = house.runner.live(first.id), newer = house.runner.live(second.id);
  REQUIRE(older);
  REQUIRE(newer);
  CHECK(older->kept.empty());
  CHECK_FALSE(older->run.has_result);
  CHECK(older->run.renderings.empty());
  CHECK(newer->kept.size() == 2);
  CHECK(newer->run.has_result);
  CHECK(newer->events.last() > 0);
  CHECK(newer->outcome.result().empty());
  CHECK_FALSE(newer->channel);
  CHECK_FALSE(newer->link);
  CHECK_FALSE(newer->started);
  CHECK_FALSE(newer->ended);
}

TEST_CASE("events are numbered, printable, and within bounds") {
  Events events;
  std::string type;
  json::object data;
  REQUIRE(read_event({{"event", "output"}, {"text", std::string(1000, 'x') + "\x1b[2J\xff"}}, type, data));
  CHECK(text_of(data, "text").find('\x1b') == std::string::npos);
  CHECK_FALSE(read_event({{"event", "state"}, {"state", "succeeded"}}, type, data));  // not a run's to say
  for (int i = 0; i < 10'000; ++i) events.add("output", data);
  CHECK(events.last() == 10'000);
  CHECK(events.behind(10'000) == nullptr);
  CHECK(events.behind(9'999)->number == 10'000);
  const Event* oldest = events.behind(0);
  REQUIRE(oldest);
  CHECK(oldest->number > 10'000 - Events::max_count - 1);
  CHECK(events.behind(oldest->number)->number == oldest->number + 1);
  CHECK(to_sse(*oldest).starts_with("id: " + std::to_string(oldest->number) + "\nevent: output\ndata: {"));
}
