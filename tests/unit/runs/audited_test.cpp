// What a run leaves in the audit, and what happens when that cannot be written.
#include <fcntl.h>

#include <boost/asio/detached.hpp>
#include <future>

#include "audit/audit.hpp"
#include "audit/read.hpp"
#include "catch.hpp"
#include "fake_plugin.hpp"
#include "house.hpp"

using namespace hatchd;
using namespace hatchd::runs;

namespace {

struct AuditedHouse {
  Folder folder;
  House house;
  audit::Audit audit{UniqueFd{::open(folder.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}, "audit.jsonl", {}};

  AuditedHouse() {
    audit.start([this] { asio::post(house.io, [this] { house.runner.audit_moved(); }); });
    house.runner.use(audit);
  }
  ~AuditedHouse() { audit.finish(); }

  Order order(schema::Effect effect) {
    Order order = house.order("web", effect);
    order.origin = {4711, "unix", "01REQUEST", ""};
    order.target_identity = {{"pid", 42}, {"started", "2026-01-01T00:00:00Z"}};
    order.reason = "why not";
    return order;
  }
  std::vector<json::object> lines() {
    audit.finish();
    std::vector<json::object> all;
    audit::for_each_line(audit.directory(), "audit.jsonl",
                         [&](std::string_view line) { all.push_back(parse_json(line)->get_object()); });
    return all;
  }
};

}  // namespace

TEST_CASE("a run has two lines, joined by its id, with masked parameters") {
  const auto effect = GENERATE(schema::Effect::observe, schema::Effect::act);
  AuditedHouse audited;
  audited.house.acts = {succeed};
  const Run run = audited.house.run_to_end(audited.order(effect));
  REQUIRE(run.state == State::succeeded);
  const auto lines = audited.lines();
  REQUIRE(lines.size() == 2);
  CHECK(text_of(lines[0], "event") == "begin");
  CHECK(text_of(lines[1], "event") == "end");
  for (const json::object& line : lines) {
    CHECK(text_of(line, "run") == run.id);
    CHECK(text_of(line, "effect") == schema::to_string(effect));
    CHECK(text_of(line, "request") == "01REQUEST");
    CHECK(text_of(*object_of(line, "caller"), "name") == "alice");
    CHECK(number_of(*object_of(line, "target"), "pid") == 42);
  }
  CHECK(text_of(*object_of(lines[0], "params"), "secret") == "******");
  CHECK(text_of(lines[0], "reason") == "why not");
  CHECK(text_of(lines[1], "outcome") == "succeeded");
}

TEST_CASE("the line that it begins is on disk before what acts is handed over") {
  AuditedHouse audited;
  std::string at_start;
  audited.house.acts = {[&](FakeRun& run) {
    audit::for_each_line(audited.folder.fd.get(), "audit.jsonl", [&](std::string_view line) { at_start += line; });
    return succeed(run);
  }};
  audited.house.run_to_end(audited.order(schema::Effect::disrupt));
  CHECK(at_start.find("\"event\":\"begin\"") != std::string::npos);
}

TEST_CASE("a hatch that looks first begins at once, and acts when record and line are on disk") {
  AuditedHouse audited;
  audited.house.hatch.requirements = {"act/1"};
  json::object start;
  std::string said, at_act, record;
  audited.house.acts = {[&](FakeRun& run) {
    start = run.start.body;
    run.started();
    said = FakeRun::next(run.channel).type;
    audit::for_each_line(audited.folder.fd.get(), "audit.jsonl", [&](std::string_view line) { at_act += line; });
    record = audited.house.disk.read_record(run.id) ? "there" : "missing";
    run.result(R"({"verdict":"done"})");
    run.closing("ok");
    run.ended();
    return true;
  }};
  const bool acts = GENERATE(true, false);
  if (acts) {
    CHECK(audited.house.run_to_end(audited.order(schema::Effect::act)).state == State::succeeded);
    CHECK(start.at("recording") == true);
    CHECK(said == "act");
    CHECK(at_act.find("\"event\":\"begin\"") != std::string::npos);
    CHECK(record == "there");
  } else {
    audited.house.acts = {[&](FakeRun& run) {
      start = run.start.body;
      return succeed(run);
    }};
    Order dry = audited.order(schema::Effect::act);
    dry.preflight = true;
    CHECK(audited.house.run_to_end(std::move(dry)).state == State::succeeded);
    CHECK(start.at("recording") == false);
  }
}

namespace {

// Nothing is written while it lives.
struct Held {
  std::promise<void> go;
  std::shared_future<void> gone{go.get_future().share()};
  explicit Held(House& house) {
    for (int i = 0; i < 2; ++i) {
      auto wait = [gone = gone] { gone.wait(); };
      asio::co_spawn(house.io, house.pool.run(std::move(wait)), asio::detached);
    }
    house.io.restart();
    house.io.run_for(50ms);
  }
};

}  // namespace

TEST_CASE("a hatch that looks first begins while its record is held up, and acts after that, unless it is cancelled") {
  AuditedHouse audited;
  audited.house.hatch.requirements = {"act/1"};
  const bool cancel = GENERATE(false, true);
  auto held = std::make_unique<Held>(audited.house);
  std::string early, late;
  LivePtr live;
  audited.house.acts = {[&](FakeRun& run) {
    run.started();
    link::Message message;
    early = run.channel.wait(message, 100) == link::Received::nothing ? "nothing" : message.type;
    if (cancel) asio::post(audited.house.io, [&] { audited.house.runner.cancel(live); });
    if (cancel) FakeRun::next(run.plugin);
    held->go.set_value();
    late = run.channel.wait(message, cancel ? 300 : 5000) == link::Received::message ? message.type : "nothing";
    if (!cancel) run.result(R"({"verdict":"done"})");
    run.closing(cancel ? "cancelled" : "ok");
    run.ended("exit", 0, cancel ? json::value("cancelled") : json::value(nullptr));
    return true;
  }};
  audited.house.go([&]() -> asio::awaitable<void> {
    auto started = audited.house.runner.start(audited.order(schema::Effect::act));
    live = *started;
    co_await audited.house.runner.wait(live);
  });
  CHECK(early == "nothing");
  CHECK(late == (cancel ? "nothing" : "act"));
  CHECK(live->run.state == (cancel ? State::cancelled : State::succeeded));
}

TEST_CASE("a hatch that looks first is called off when it cannot be put on record") {
  AuditedHouse audited;
  audited.house.hatch.requirements = {"act/1"};
  std::filesystem::create_directory(audited.folder.path / "audit.jsonl");
  link::Received on_channel{};
  std::string on_plugin;
  audited.house.acts = {[&](FakeRun& run) {
    run.started();
    link::Message message;
    on_channel = run.channel.wait(message, 5000);
    on_plugin = FakeRun::next(run.plugin).type;
    run.ended("exit", 0, "cancelled");
    return true;
  }};
  const Run run = audited.house.run_to_end(audited.order(schema::Effect::act));
  CHECK(run.state == State::failed);
  CHECK(run.error->code == "audit-unwritable");
  CHECK_FALSE(run.started.empty());
  audited.house.plugins.close();
  audited.house.processes.clear();  // joins
  CHECK(on_channel == link::Received::ended);
  CHECK(on_plugin == "cancel");
}

TEST_CASE("an audit that cannot be written stops what acts, before and at its start, and not what observes") {
  AuditedHouse audited;
  std::filesystem::create_directory(audited.folder.path / "audit.jsonl");
  audited.house.acts = {succeed};
  const Run first = audited.house.run_to_end(audited.order(schema::Effect::act));
  CHECK(first.state == State::failed);
  CHECK(first.error->code == "audit-unwritable");
  CHECK(first.started.empty());
  CHECK(audited.house.asked == 0);
  const auto refused = audited.house.runner.start(audited.order(schema::Effect::act));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().problem.code == "audit-unwritable");
  CHECK_FALSE(refused.error().problem.remedy.empty());
  CHECK(audited.house.run_to_end(audited.order(schema::Effect::observe)).state == State::succeeded);
  std::filesystem::remove(audited.folder.path / "audit.jsonl");
  audited.house.go([&]() -> asio::awaitable<void> {
    while (!audited.audit.writable()) {
      asio::steady_timer timer(audited.house.io, 20ms);
      co_await timer.async_wait(asio::use_awaitable);
    }
  });
  CHECK(audited.house.run_to_end(audited.order(schema::Effect::act)).state == State::succeeded);
  CHECK(audited.lines().size() == 6);  // what happened meanwhile, too
}

TEST_CASE("a dry run and a refused run leave no line of a run") {
  AuditedHouse audited;
  audited.house.acts = {succeed};
  Order dry = audited.order(schema::Effect::act);
  dry.preflight = true;
  audited.house.run_to_end(std::move(dry));
  CHECK(audited.lines().empty());
}

TEST_CASE("large parameters are left out of the line") {
  AuditedHouse audited;
  audited.house.acts = {succeed};
  Order order = audited.order(schema::Effect::observe);
  order.masked = {{"text", std::string(20'000, 'x')}};
  audited.house.run_to_end(std::move(order));
  CHECK(object_of(audited.lines().at(0), "params")->contains("parameters_left_out"));
}
