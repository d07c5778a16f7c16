// The parts around a runner, with fake plugin processes in place of the supervisor's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "catch.hpp"
#include "fake_plugin.hpp"
#include "folder.hpp"
#include "runs/runner.hpp"

using namespace hatchd;
using namespace hatchd::runs;
using namespace std::chrono_literals;

struct House {
  Folder folder;
  asio::io_context io{1};
  Disk disk;
  Store store{Keep{}};
  std::deque<FakePlugin::Act> acts;  // one for each process that is asked for; none left: refused
  std::deque<FakePlugin> processes;
  unsigned asked = 0;
  Plugins plugins{io.get_executor(), [this](const std::string& name) { return provide(name); }};
  Pool pool{2};
  Runner runner;
  catalogue::Hatch hatch;

  explicit House(Limits limits = {}, MinFree min_free = {})
      : disk(*Disk::open(folder.fd.get(), min_free)), runner(io.get_executor(), plugins, store, disk, pool, limits) {
    hatch.id = "stack.dump";
    hatch.plugin = "stack";
    hatch.timeout = 5s;
    hatch.concurrency = 4;
  }
  ~House() {
    plugins.close();
    io.restart();
    io.run_for(5s);  // every coroutine comes to its end
  }

  bool provide(const std::string& name) {
    ++asked;
    asio::post(io, [this, name] {
      if (acts.empty()) return plugins.refused(name, Problem{"run-failed", "it does not load"});
      auto [ours, theirs] = link::Channel::pair();
      processes.emplace_back(std::move(theirs), std::move(acts.front()));
      acts.pop_front();
      plugins.arrived(name, static_cast<pid_t>(asked), link::Channel(std::move(ours)));
    });
    return true;
  }

  Order order(std::string target = "web", schema::Effect effect = schema::Effect::observe) {
    Order order;
    order.hatch = std::make_shared<const catalogue::Hatch>(hatch);
    order.target = std::move(target);
    order.caller.name = "alice";
    order.effect = effect;
    order.params = {{"secret", "clear"}};
    order.masked = {{"secret", "******"}};
    return order;
  }

  // Runs the loop until `work` is done.
  template <class Work>
  void go(Work work) {
    bool done = false;
    asio::co_spawn(io, work(), [&](std::exception_ptr error) {
      done = true;
      if (error) std::rethrow_exception(error);
    });
    io.restart();
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!done && std::chrono::steady_clock::now() < limit) io.run_one_for(1s);
    REQUIRE(done);
  }

  Run run_to_end(Order what) {
    Run run;
    go([&]() -> asio::awaitable<void> {
      auto live = runner.start(std::move(what));
      if (!live) throw std::runtime_error(live.error().problem.detail);
      co_await runner.wait(*live);
      run = (*live)->run;
    });
    return run;
  }
  // Its folder, when the record of its begin is in it: that is written while the run starts.
  std::filesystem::path folder_of(const FakeRun& run) const {
    while (!disk.read_record(run.id)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return folder.path / run.id;
  }
  std::string stored(const Run& run, const std::string& file) { return disk.read(run.id, file).value_or("(none)"); }
};

inline bool succeed(FakeRun& run) {
  run.started();
  run.channel.send("event", {{"event", "progress"}, {"permyriad", 5000}, {"note", "half\x1b[2J"}});
  run.result(R"({"verdict":"all is well","threads":[1,2]})");
  run.rendering("text", "all is well\n");
  run.rendering("../evil", "x");
  run.closing("ok");
  run.ended();
  return true;
}
