#include "runs/run.hpp"

#include <boost/json.hpp>

#include "base/json.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::runs;
namespace json = boost::json;

TEST_CASE("states move forward and never back") {
  for (const State from : all_states)
    for (const State to : all_states) {
      CAPTURE(to_string(from), to_string(to));
      bool expected = false;
      if (from == State::queued) expected = to != State::queued && to != State::succeeded;
      if (from == State::running) expected = is_over(to);
      CHECK(may_move(from, to) == expected);
    }
}

TEST_CASE("every state that is not over can end, and every end is reached") {
  for (const State state : all_states) {
    CAPTURE(to_string(state));
    int out = 0, in = 0;
    for (const Move& move : moves) {
      out += move.from == state;
      in += move.to == state;
    }
    CHECK((out == 0) == is_over(state));
    CHECK((in == 0) == (state == State::queued));
    CHECK(parse_state(to_string(state)) == state);
  }
  CHECK_FALSE(parse_state("done"));
}

namespace {

Run example() {
  Run run;
  run.id = new_ulid();
  run.hatch = "stack.dump";
  run.kind = "k";
  run.plugin = "stack";
  run.target = "web";
  run.target_pid = 42;
  run.target_started = "2026-01-01T00:00:00Z";
  run.caller = "alice";
  run.via = "unix";
  run.uid = 1000;
  run.reason = "it hangs";
  run.params = {{"pause", "all"}, {"password", "******"}};
  run.state = State::failed;
  run.duration_ms = 12;
  run.paused_us = 345;
  run.error = Problem{"run-failed", "refused", {"cap"}, "do this"};
  run.artifacts.push_back({"a b.svg", "image/svg+xml", 3, std::string(64, 'a'), 1});
  run.verdict = "so far";
  run.has_result = true;
  run.renderings = {"text", "folded"};
  run.effect = schema::Effect::act;
  run.role = access::Role::admin;
  run.bytes = 99;
  return run;
}

}  // namespace

TEST_CASE("a record is read back as it was written") {
  const Run run = example();
  const auto back = from_record(to_record(run));
  REQUIRE(back);
  CHECK(to_record(*back) == to_record(run));
  CHECK(back->effect == schema::Effect::act);
  CHECK(back->role == access::Role::admin);
  CHECK(back->uid == 1000u);
  CHECK(back->error->missing == std::vector<std::string>{"cap"});
}

TEST_CASE("a damaged record is refused or read as the most protected") {
  CHECK_FALSE(from_record({}));
  CHECK_FALSE(from_record({{"id", "../../etc"}, {"hatch", "a.b"}, {"state", "failed"}}));
  json::object record = to_record(example());
  record["effect"] = 7;
  REQUIRE(from_record(record));
  CHECK(from_record(record)->effect == schema::Effect::disrupt);
  record["state"] = "sleeping";
  CHECK_FALSE(from_record(record));
}

TEST_CASE("the text of a run is its JSON with the result in place, at any depth") {
  const Run run = example();
  const std::string result = R"({"verdict":"so far","steps":[{"name":"x"}]})";
  for (const unsigned indent : {0u, 1u, 3u}) {
    const auto value = parse_json(*to_text(run, result, indent));
    REQUIRE(value);
    const json::object& object = value->as_object();
    CHECK(object.at("result").at("steps").at(0).at("name") == "x");
    json::object without = object;
    without.erase("result");
    CHECK(without == to_json(run));
  }
  CHECK(parse_json(*to_text(run, ""))->at("result").is_null());
  CHECK(to_text(run, result)->find("\n  \"result\": {\n    \"verdict\"") != std::string::npos);
  CHECK_FALSE(to_text(run, R"({"verdict":)"));
  CHECK(text_of(to_json(run).at("artifacts").at(0).as_object(), "href") ==
        "/v1/runs/" + run.id + "/artifacts/a%20b.svg");
}

TEST_CASE("the time of a run is in its id") {
  const auto before = std::chrono::system_clock::now() - std::chrono::milliseconds(2);
  const WallTime time = time_of(new_ulid());
  CHECK(time >= before);
  CHECK(time <= std::chrono::system_clock::now());
}

TEST_CASE("names of artifacts and renderings are plain") {
  CHECK(is_artifact_name("flame graph.svg"));
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a\nb", "\xff"}) {
    CAPTURE(name);
    CHECK_FALSE(is_artifact_name(name));
  }
  CHECK(is_rendering_name("folded"));
  for (const char* name : {"", "json", "../x", "A"}) CHECK_FALSE(is_rendering_name(name));
}
