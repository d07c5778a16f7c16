// Reading the history back after a start, while the front answers.
#include "runs/history.hpp"

#include <algorithm>
#include <thread>

#include "house.hpp"

namespace fs = std::filesystem;

namespace {

struct Past : House {
  std::vector<std::string> ids;  // the oldest first

  explicit Past(std::size_t count, Limits limits = {}) : House(limits) {
    for (std::size_t i = 0; i < count; ++i) ids.push_back(leave(i % 2 ? "a.b" : "c.d", State::succeeded));
    runner.history().look();
  }
  ~Past() {  // before what it reads into
    plugins.close();
    io.restart();
    io.run_for(5s);
  }

  std::string leave(const std::string& hatch, State state) {
    Run run;
    run.id = new_ulid();
    run.hatch = hatch;
    run.target = "web";
    run.state = state;
    REQUIRE(disk.create(run.id, false));
    REQUIRE(disk.write_record(run, false));
    return run.id;
  }
  // Beside what the test does.
  void read() {
    asio::co_spawn(io, read_all(), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
  }
  asio::awaitable<void> read_all() {
    std::function<void(const Run&)> take = [this](const Run& run) { taken.push_back(run); };
    counts = co_await runner.history().read(std::move(take));
  }
  void read_to_end() {
    read();
    go([&]() -> asio::awaitable<void> {
      while (!runner.history().whole()) co_await runner.history().more(std::chrono::steady_clock::now() + 1s);
    });
  }
  Runner::Listed list(Store::Query query) {
    Runner::Listed listed;
    go([&]() -> asio::awaitable<void> { listed = co_await runner.list(query); });
    return listed;
  }

  std::vector<Run> taken;
  History::Counts counts;
};

std::vector<std::string> ids_of(const std::vector<Run>& runs) {
  std::vector<std::string> ids;
  for (const Run& run : runs) ids.push_back(run.id);
  return ids;
}

std::vector<std::string> newest(std::vector<std::string> ids, std::size_t count) {
  std::reverse(ids.begin(), ids.end());
  ids.resize(std::min(count, ids.size()));
  return ids;
}

}  // namespace

TEST_CASE("the history is read back, the newest first") {
  Past past(150);
  CHECK_FALSE(past.runner.history().whole());
  past.read_to_end();
  CHECK(past.counts.runs == 150);
  CHECK(ids_of(past.taken) == newest(past.ids, 150));
  CHECK(past.store.size() == 150);
}

TEST_CASE("a list waits for what it shows and for nothing else") {
  Past past(300);
  past.read();
  Store::Query query;
  query.limit = 10;
  const Runner::Listed first = past.list(query);
  CHECK(ids_of(first.runs) == newest(past.ids, 10));
  CHECK(first.whole);
  CHECK_FALSE(past.runner.history().whole());
  query.limit = 200;
  query.hatch = "a.b";
  const Runner::Listed all = past.list(query);
  CHECK(all.runs.size() == 150);
  CHECK(all.next.empty());
}

TEST_CASE("a list that has waited long enough goes on behind what is known") {
  Limits limits;
  limits.history = 20ms;
  Past past(100, limits);
  const Runner::Listed nothing = past.list({});
  CHECK(nothing.runs.empty());
  CHECK_FALSE(nothing.whole);
  CHECK(is_ulid(nothing.next));
  past.read_to_end();
  Store::Query query;
  query.after = nothing.next;
  CHECK(ids_of(past.list(query).runs) == newest(past.ids, 50));
}

TEST_CASE("who asks for a run gets it before its turn") {
  Past past(300);
  past.read();
  std::string found, code;
  past.go([&]() -> asio::awaitable<void> {
    const std::string oldest = past.ids.front(), unknown = new_ulid();
    const auto run = co_await past.runner.load(oldest);
    if (run) found = run->id;
    const auto nothing = co_await past.runner.load(unknown);
    if (!nothing) code = nothing.error().code;
  });
  CHECK(found == past.ids.front());
  CHECK(code == "run-unknown");
  CHECK_FALSE(past.runner.history().whole());
}

TEST_CASE("while the history is read, runs are started, and nothing is pruned") {
  Past past(100);
  past.store.keep(Keep{1});
  past.acts.emplace_back(succeed);
  const Run run = past.run_to_end(past.order());
  CHECK(run.state == State::succeeded);
  past.go([&]() -> asio::awaitable<void> { co_await past.runner.prune(); });
  CHECK(past.disk.ids().size() == 101);
  Store::Query query;
  query.limit = 1;
  query.state = State::running;  // of those before us none runs
  CHECK(past.list(query).runs.empty());
  past.read_to_end();
  past.go([&]() -> asio::awaitable<void> { co_await past.runner.prune(); });
  CHECK(past.disk.ids() == std::vector<std::string>{past.ids[98], past.ids[99], run.id});
}

TEST_CASE("a run that was under way is crashed for the first who asks") {
  Past past(0);
  const std::string id = past.leave("a.b", State::running);
  for (int i = 0; i < 200; ++i) past.leave("a.b", State::succeeded);
  past.runner.history().look();
  past.read();
  State state = State::running;
  past.go([&]() -> asio::awaitable<void> {
    const auto run = co_await past.runner.load(id);
    if (run) state = run->state;
  });
  CHECK(state == State::crashed);
  CHECK(past.disk.read_record(id)->state == State::crashed);
}

TEST_CASE("new runs come behind those of a clock that ran ahead, and a name that no clock has made does not count") {
  Past past(0);
  Run run;
  run.hatch = "a.b";
  run.state = State::succeeded;
  run.id = "02G00000000000000000000000";  // in the year 2084
  REQUIRE(past.disk.create(run.id, false));
  REQUIRE(past.disk.write_record(run, false));
  fs::create_directory(past.folder.path / "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
  // A thread of its own, since ids go on from there.
  std::thread([&] {
    past.runner.history().look();
    past.acts.emplace_back(succeed);
    const WallTime before = std::chrono::system_clock::now();
    const Run next = past.run_to_end(past.order());
    past.read_to_end();
    CHECK(next.id > run.id);
    CHECK(next.id < "02G00000000000000000000010");
    CHECK(next.created() >= before - 1ms);
    CHECK(ids_of(past.list({}).runs) == std::vector<std::string>{next.id, run.id});
    const auto read = past.disk.read_record(next.id);
    REQUIRE(read);
    CHECK(rfc3339(read->created()) == rfc3339(next.created()));
  }).join();
  CHECK(past.counts.runs == 1);
  CHECK(fs::exists(past.folder.path / "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
}

TEST_CASE("what was removed by hand before its turn is not there") {
  Past past(100);
  past.disk.remove(past.ids[3]);
  past.read_to_end();
  CHECK(past.counts.runs == 99);
  CHECK_FALSE(past.store.find(past.ids[3]));
}
