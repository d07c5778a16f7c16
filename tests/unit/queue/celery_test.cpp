#include <boost/json.hpp>

#include "catch.hpp"
#include "queue/celery/message.hpp"
#include "queue/celery/results.hpp"
#include "queue/celery/verdict.hpp"

namespace json = boost::json;
using namespace queue::celery;

namespace {

const char* hostile = "x\",\"delivery_info\":{},\"y\":\"\x1b[2J\n\\";

Task task_of(const std::string& text) {
  Task task;
  task.id = new_uuid();
  task.name = task.queue = text;
  task.arguments = {text, "two"};
  task.expires = iso_time({});
  return task;
}

}  // namespace

TEST_CASE("base64 there and back") {
  for (const char* text : {"", "a", "ab", "abc", "abcd", "\xff\xfe\x00 x"}) CHECK(from_base64(base64(text)) == text);
  CHECK(base64("hatchd") == "aGF0Y2hk");
  CHECK_THROWS_AS(from_base64("a\x1b"), queue::Trouble);
}

TEST_CASE("times as Celery reads them") {
  CHECK(iso_time(std::chrono::system_clock::time_point(std::chrono::microseconds(1'000'000'000'000'042))) ==
        "2001-09-09T01:46:40.000042+00:00");
}

TEST_CASE("an envelope has what kombu reads unguarded, whatever the names in it are") {
  const Task task = task_of(hostile);
  const json::object envelope = parse_object(task_envelope(task), "it");
  const json::object& properties = envelope.at("properties").as_object();
  CHECK(properties.at("delivery_info").at("exchange") == "");
  CHECK(properties.at("delivery_info").at("routing_key") == hostile);
  CHECK(properties.at("body_encoding") == "base64");
  CHECK(properties.at("delivery_tag").as_string().size() == 36);
  CHECK(properties.at("correlation_id").as_string() == task.id.c_str());
  CHECK(envelope.at("headers").at("task") == hostile);
  CHECK(envelope.at("headers").at("id").as_string() == task.id.c_str());
  CHECK_FALSE(envelope.at("headers").at("expires").as_string().empty());
  const json::value body = json::parse(from_base64(std::string(envelope.at("body").as_string())));
  CHECK(body.at(0) == json::array{hostile, "two"});
  CHECK(body.at(2).at("callbacks").is_null());

  const json::object asked =
      parse_object(question_envelope(question("ping", "t", "reply", "oid"), "celery.pidbox", 9), "it");
  CHECK(asked.at("properties").at("delivery_info").at("exchange") == "celery.pidbox");
  CHECK(asked.at("headers").at("expires") == 9);
}

TEST_CASE("only the result of our own task counts") {
  Outcome outcome;
  take_result(outcome, R"({"task_id": "other", "status": "SUCCESS", "result": 1})", "mine");
  CHECK_FALSE(outcome.over());
  take_result(outcome, R"({"task_id": "mine", "status": "STARTED", "result": {"pid": 1, "hostname": "w@h"}})", "mine");
  CHECK_FALSE(outcome.over());
  CHECK(outcome.worker == "w@h");
  take_result(outcome, R"({"task_id": "mine", "status": "FAILURE",
    "result": {"exc_type": "KeyError", "exc_message": ["a", 2], "exc_module": "builtins"}})",
              "mine");
  CHECK(outcome.over());
  CHECK(outcome.exception == "KeyError");
  CHECK(outcome.message == "a, 2");
  CHECK_THROWS_AS(take_result(outcome, "[1]", "mine"), queue::Trouble);
}

namespace {

void answer(Workers& workers, const char* name, const char* queues, const char* active = "[]", int slots = 2) {
  const auto take = [&](const char* method, const std::string& said) {
    workers.take(method, json::parse("{\"" + std::string(name) + "\": " + said + "}").as_object());
  };
  take("stats", R"({"pid": 7, "total": {"celery.accumulate": 3}, "pool": {"max-concurrency": )" +
                    std::to_string(slots) +
                    R"(, "processes": [8, 9], "implementation": "celery.concurrency.prefork:TaskPool"}})");
  take("active", active);
  take("active_queues", queues);
}

Findings findings() {
  Findings found;
  found.broker = "redis";
  found.queue = "celery";
  found.task = "celery.accumulate";
  found.depth.messages = 5210;
  found.listeners = 1;
  found.result_address = "redis://h/1";
  found.waited_s = 5;
  return found;
}

}  // namespace

TEST_CASE("the verdict tells what nobody, somebody else, busy and silent workers look like") {
  Findings found = findings();
  SECTION("nobody") {
    found.listeners = 0;
    found.was_still_there = true;
    CHECK(judge(found, {}).sentence ==
          "broker up, queue `celery` has 5,210 messages and no consumer: no worker listens to it");
    found.was_still_there = false;
    CHECK(judge(found, {}).sentence.find("something took the ping") != std::string::npos);
  }
  SECTION("nobody, as RabbitMQ knows it") {
    found.broker = "amqp";
    found.listeners.reset();
    found.depth.consumers = 0;
    CHECK(judge(found, {}).sentence ==
          "broker up, queue `celery` has 5,210 messages and no consumer: no worker listens to it");
    found.depth.there = false;
    CHECK(judge(found, {}).sentence.find("there is no queue `celery`") != std::string::npos);
  }
  Workers workers;
  SECTION("somebody else") {
    answer(workers, "w1@h", R"([{"name": "mails"}])");
    const Verdict verdict = judge(found, workers);
    CHECK_FALSE(verdict.good);
    CHECK(verdict.sentence.find("they listen to mails") != std::string::npos);
    CHECK(verdict.hint.find("-Q celery") != std::string::npos);
  }
  SECTION("busy") {
    answer(workers, "w1@h", R"([{"name": "celery"}])",
           R"([{"id": "a", "name": "shop.slow", "worker_pid": 8}, {"id": "b", "name": "shop.slow", "worker_pid": 9}])");
    CHECK(judge(found, workers).sentence.find("alive and busy: all 2 slots of w1@h") != std::string::npos);
  }
  SECTION("alive, and the result went astray") {
    answer(workers, "w1@h", R"([{"name": "celery"}])");
    CHECK(judge(found, workers).sentence.find("no result came from redis://h/1") != std::string::npos);
    found.was_still_there = true;
    CHECK(judge(found, workers).sentence.find("did not take the ping") != std::string::npos);
  }
  SECTION("silent") {
    CHECK(judge(found, workers).sentence.find("1 listening worker, but no worker answers") != std::string::npos);
    queue::TargetProcess stopped;
    stopped.pid = 4711;
    stopped.state = 'T';
    found.target.push_back(stopped);
    CHECK(judge(found, workers).sentence.find("process 4711 of the target is stopped") != std::string::npos);
    CHECK(judge(found, workers).hint.find("kill -CONT 4711") != std::string::npos);
  }
  SECTION("answered") {
    found.worker = "w1@h";
    found.round_trip_ms = 4.25;
    found.outcome.status = "SUCCESS";
    CHECK(judge(found, workers).good);
    CHECK(judge(found, workers).sentence == "worker w1@h answered through queue `celery` in 4.2 ms");
    found.outcome.status = "REVOKED";
    CHECK(judge(found, workers).hint.find("clock") != std::string::npos);
  }
}

TEST_CASE("what workers say is bounded and cleaned, and their pids are found among the target's") {
  Workers workers;
  answer(workers, "w\\u001b[31m@h", R"([{"name": "q\u001b"}, 7, {"name": 3}])",
         R"([1, {"name": "t", "worker_pid": "x"}])");
  std::string many = "{";
  for (int i = 0; i < 2000; ++i) many += (i ? ",\"w" : "\"w") + std::to_string(i) + "\":{\"pid\":1}";
  workers.take("stats", json::parse(many + "}").as_object());
  workers.take("shutdown", json::parse(R"({"intruder": {"ok": 1}})").as_object());
  CHECK(workers.all().size() == Workers::max_workers);
  CHECK(workers.complete() == 1);

  queue::TargetProcess process;
  process.pid = 1234;
  process.inner_pids = {1234, 7};
  CHECK(queue::find_process({process}, 7)->pid == 1234);
  CHECK(queue::find_process({process}, 8) == nullptr);
}
