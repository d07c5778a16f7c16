#include "metrics/metrics.hpp"

#include <boost/json.hpp>

#include "base/clock.hpp"
#include "catch.hpp"
#include "metrics/time.hpp"

using namespace hatchd;
using namespace hatchd::metrics;
namespace json = boost::json;
using Catch::Matchers::Contains;

namespace {

std::shared_ptr<const catalogue::Catalogue> hatches() {
  static const auto catalogue = std::make_shared<const catalogue::Catalogue>(json::parse(R"([
    {"plugin": "stack", "hatches": [
      {"id": "stack.dump", "title": "All threads", "effect": "observe", "target": "required", "max_pause_us": 250000, "enabled": true}]},
    {"plugin": "queue", "hatches": [
      {"id": "queue.ping", "kind": "celery", "title": "Ping", "effect": "act", "target": "optional", "enabled": true, "profiles": ["bulk", "default"]}]},
    {"plugin": "off", "hatches": [{"id": "off.hatch", "title": "Off", "effect": "disrupt", "target": "none", "enabled": false}]}
  ])")
                                                                                 .as_array());
  return catalogue;
}

Metrics fresh() {
  Metrics metrics("1.2.3", {"succeeded", "failed"});
  metrics.know(hatches());
  return metrics;
}

std::string all_of(const Metrics& metrics, Form form = Form::prometheus) {
  return metrics.text(form, [](std::string_view, std::string_view) { return true; });
}

RunEnd dump(std::string state = "succeeded") {
  return {"stack.dump", "web", "", std::move(state), 0.7, 0.0004, 1000.5};
}

json::array target(std::string_view processes, std::string_view state = "up") {
  return json::parse(R"([{"name": "web", "state": ")" + std::string(state) + R"(", "processes": )" +
                     std::string(processes) + "}]")
      .as_array();
}

}  // namespace

TEST_CASE("known series stand at 0 from the start") {
  Metrics metrics = fresh();
  metrics.know_targets({"web"});
  metrics.know_route("GET", "/v1/runs/{id}", 200);
  const std::string text = all_of(metrics);
  for (const char* line : {
           "hatchd_build_info{version=\"1.2.3\"} 1\n",
           "hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"succeeded\"} 0\n",
           "hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"failed\"} 0\n",
           "hatchd_runs_total{hatch=\"queue.ping\",target=\"\",state=\"failed\"} 0\n",
           "hatchd_runs_total{hatch=\"queue.ping\",target=\"web\",state=\"failed\"} 0\n",
           "hatchd_run_last_success_timestamp_seconds{hatch=\"stack.dump\",target=\"web\",profile=\"\"} 0\n",
           "hatchd_run_last_success_timestamp_seconds{hatch=\"queue.ping\",target=\"\",profile=\"bulk\"} 0\n",
           "hatchd_run_duration_seconds_count{hatch=\"stack.dump\"} 0\n",
           "hatchd_run_pause_seconds_bucket{hatch=\"stack.dump\",le=\"+Inf\"} 0\n",
           "hatchd_http_requests_total{route=\"/v1/runs/{id}\",method=\"GET\",code=\"200\"} 0\n",
           "hatchd_plugin_restarts_total{plugin=\"queue\"} 0\n",
           "\nhatchd_config_last_reload_successful 1\n",
           "\nhatchd_config_last_reload_success_timestamp_seconds 0\n",
       }) {
    CAPTURE(line, text);
    CHECK_THAT(text, Contains(line));
  }
  CHECK_THAT(text, !Contains("hatch=\"stack.dump\",target=\"\""));  // it needs a target
  CHECK_THAT(text, !Contains("off.hatch"));
  CHECK_THAT(text, !Contains("hatchd_run_pause_seconds_count{hatch=\"queue.ping\"}"));  // it pauses nothing
}

TEST_CASE("after a reload new hatches are known, and what was counted stays") {
  Metrics metrics = fresh();
  metrics.know_targets({"web"});
  metrics.run_ended({"stack.dump", "web", "", "succeeded", 1, 0, 1});
  metrics.know(std::make_shared<const catalogue::Catalogue>(json::parse(R"([{"plugin": "new", "hatches": [
      {"id": "new.hatch", "title": "New", "effect": "observe", "target": "required", "enabled": true}]}])")
                                                                .as_array()));
  const std::string text = all_of(metrics);
  CHECK_THAT(text, Contains("hatchd_runs_total{hatch=\"new.hatch\",target=\"web\",state=\"failed\"} 0\n"));
  CHECK_THAT(text, Contains("hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"succeeded\"} 1\n"));
}

TEST_CASE("a run that ended is counted, timed and remembered") {
  Metrics metrics = fresh();
  metrics.know_targets({"web"});
  metrics.run_ended(dump());
  metrics.run_ended(dump("failed"));
  metrics.run_succeeded_before({"stack.dump", "web", "", "succeeded", 1, 0, 900});
  const std::string text = all_of(metrics);
  CHECK_THAT(text, Contains("hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"succeeded\"} 1\n"));
  CHECK_THAT(text, Contains("hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"failed\"} 1\n"));
  CHECK_THAT(text, Contains("hatchd_run_duration_seconds_bucket{hatch=\"stack.dump\",le=\"0.5\"} 0\n"));
  CHECK_THAT(text, Contains("hatchd_run_duration_seconds_bucket{hatch=\"stack.dump\",le=\"1.0\"} 2\n"));
  CHECK_THAT(text, Contains("hatchd_run_duration_seconds_bucket{hatch=\"stack.dump\",le=\"+Inf\"} 2\n"));
  CHECK_THAT(text, Contains("hatchd_run_duration_seconds_sum{hatch=\"stack.dump\"} 1.4\n"));
  CHECK_THAT(text, Contains("hatchd_run_pause_seconds_bucket{hatch=\"stack.dump\",le=\"0.0001\"} 0\n"));
  CHECK_THAT(text, Contains("hatchd_run_pause_seconds_bucket{hatch=\"stack.dump\",le=\"0.001\"} 2\n"));
  CHECK_THAT(
      text,
      Contains("hatchd_run_last_success_timestamp_seconds{hatch=\"stack.dump\",target=\"web\",profile=\"\"} 1000.5\n"));
}

TEST_CASE("history tells when a run last succeeded, and counts nothing") {
  Metrics metrics = fresh();
  metrics.know_targets({"web"});
  metrics.run_succeeded_before(dump());
  metrics.run_succeeded_before({"stack.dump", "web", "", "failed", 1, 0, 2000});
  const std::string text = all_of(metrics);
  CHECK_THAT(
      text,
      Contains("hatchd_run_last_success_timestamp_seconds{hatch=\"stack.dump\",target=\"web\",profile=\"\"} 1000.5\n"));
  CHECK_THAT(text, Contains("hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"succeeded\"} 0\n"));
}

TEST_CASE("a result's members feed the depth of a queue") {
  Metrics metrics = fresh();
  const Reading* reading = reading_of("queue.ping");
  REQUIRE(reading);
  CHECK(reading_of("stack.dump") == nullptr);
  metrics.read(*reading, "default", {{"queue", "celery"}, {"depth", 12}});
  metrics.read(*reading, "default", {{"queue", "celery"}, {"depth", 3}});
  metrics.read(*reading, "bulk", {{"queue", "mail"}});
  metrics.read(*reading, "bulk", {{"queue", 7}, {"depth", 1}});
  metrics.read(*reading, "bulk", {{"queue", "mail"}, {"depth", "many"}});
  const std::string text = all_of(metrics);
  CHECK_THAT(text, Contains("hatchd_queue_depth{profile=\"default\",queue=\"celery\"} 3\n"));
  CHECK_THAT(text, !Contains("profile=\"bulk\",queue"));
}

TEST_CASE("requests are told apart by what cannot grow") {
  Metrics metrics = fresh();
  metrics.request("GET", "/v1/runs/{id}", 404);
  metrics.request("BREW", "", 405);
  metrics.request("PROPFIND", "", 405);
  const std::string text = all_of(metrics);
  CHECK_THAT(text, Contains("hatchd_http_requests_total{route=\"/v1/runs/{id}\",method=\"GET\",code=\"404\"} 1\n"));
  CHECK_THAT(text, Contains("hatchd_http_requests_total{route=\"other\",method=\"other\",code=\"405\"} 2\n"));
}

TEST_CASE("a plugin that is started again after it fell is counted; one that had left for want of work is not") {
  Metrics metrics = fresh();
  metrics.plugin_started("stack");
  metrics.plugin_ended("stack", true);
  metrics.plugin_started("stack");
  CHECK_THAT(all_of(metrics), Contains("hatchd_plugin_restarts_total{plugin=\"stack\"} 0\n"));
  metrics.plugin_ended("stack", false);
  CHECK_THAT(all_of(metrics), Contains("hatchd_plugin_restarts_total{plugin=\"stack\"} 0\n"));
  metrics.plugin_started("stack");
  metrics.plugin_started("stack");
  CHECK_THAT(all_of(metrics), Contains("hatchd_plugin_restarts_total{plugin=\"stack\"} 1\n"));
}

TEST_CASE("a target's numbers") {
  Metrics metrics = fresh();
  const json::array up = target(R"([
    {"pid": 7, "started": "1970-01-01T00:16:40.250Z", "started_ticks": 1, "main": true, "threads": 3, "cpu_seconds": 1.5,
     "resident_bytes": 1000, "open_fds": 10, "max_fds": 1000},
    {"pid": 8, "started": "1970-01-01T00:16:41.000Z", "started_ticks": 2, "main": false, "threads": 2, "cpu_seconds": 0.5,
     "resident_bytes": 500, "open_fds": 90, "max_fds": 100}])");
  metrics.look(&up);
  const std::string text = all_of(metrics);
  for (const char* line :
       {"hatchd_target_up{target=\"web\"} 1\n", "hatchd_target_cpu_seconds_total{target=\"web\"} 2\n",
        "hatchd_target_resident_memory_bytes{target=\"web\"} 1500\n", "hatchd_target_threads{target=\"web\"} 5\n",
        "hatchd_target_open_fds{target=\"web\"} 90\n", "hatchd_target_max_fds{target=\"web\"} 100\n",
        "hatchd_target_start_time_seconds{target=\"web\"} 1000.25\n",
        // Found just now, known from here on.
        "hatchd_runs_total{hatch=\"stack.dump\",target=\"web\",state=\"succeeded\"} 0\n"}) {
    CAPTURE(line, text);
    CHECK_THAT(text, Contains(line));
  }
  CHECK_THAT(text, !Contains("pid"));

  const json::array gone = target("[]", "gone");
  metrics.look(&gone);
  CHECK_THAT(all_of(metrics), Contains("hatchd_target_up{target=\"web\"} 0\n"));
  CHECK_THAT(all_of(metrics), !Contains("hatchd_target_threads{"));
  // Nothing is known: no series is better than a lie.
  metrics.look(nullptr);
  CHECK_THAT(all_of(metrics), !Contains("hatchd_target_up{"));
}

TEST_CASE("what may not be read has no series") {
  Metrics metrics = fresh();
  const json::array up =
      target(R"([{"pid": 7, "started": "1970-01-01T00:16:40.250Z", "started_ticks": 1, "main": true}])");
  metrics.look(&up);
  CHECK_THAT(all_of(metrics), Contains("hatchd_target_up{target=\"web\"} 1\n"));
  CHECK_THAT(all_of(metrics), !Contains("hatchd_target_open_fds{"));
  CHECK_THAT(all_of(metrics), !Contains("hatchd_target_resident_memory_bytes{"));
}

TEST_CASE("CPU time never falls, whatever becomes of the processes") {
  Metrics metrics = fresh();
  const auto cpu_after = [&](std::string_view processes) {
    const json::array list = target(processes);
    metrics.look(&list);
    const std::string text = all_of(metrics);
    const std::string name = "hatchd_target_cpu_seconds_total{target=\"web\"} ";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  const std::string master = R"({"pid": 1, "started": "2020-01-01T00:00:00.000Z", "started_ticks": 1, "cpu_seconds": )";
  const std::string worker = R"({"pid": 2, "started": "2020-01-01T00:00:01.000Z", "started_ticks": 2, "cpu_seconds": )";
  // Started long after this test, so after every look of it.
  const std::string next = R"({"pid": 2, "started": "2999-01-01T00:00:01.000Z", "started_ticks": 9, "cpu_seconds": )";
  CHECK(cpu_after("[" + master + "10}," + worker + "5}]") == 15);
  CHECK(cpu_after("[" + master + "11}," + worker + "7}]") == 18);
  CHECK(cpu_after("[" + master + "11}]") == 18);                   // the worker ended
  CHECK(cpu_after("[" + master + "11}," + next + "2}]") == 20);    // another took its place, and its number
  CHECK(cpu_after("[" + master + "11}," + worker + "7}]") == 20);  // an old one, left out for once, adds nothing
  CHECK(cpu_after("[" + master + "11}," + worker + "7.5}]") == 20.5);
}

TEST_CASE("label values are escaped, and cut within a code point's border") {
  Metrics metrics = fresh();
  metrics.know_targets({"a\"b\\c\nd"});
  const json::array odd = json::parse(R"([{"name": "a\"b\\c\nd", "state": "up", "processes": []}])").as_array();
  metrics.look(&odd);
  CHECK_THAT(all_of(metrics), Contains("hatchd_target_up{target=\"a\\\"b\\\\c\\nd\"} 1\n"));

  Counters family({"x_total", Type::counter, "", {"label"}});
  std::string longish = "x";
  while (longish.size() < 2 * max_label) longish += "\xC3\xA9";
  ++family.at({longish});
  ++family.at({longish});
  REQUIRE(family.series().size() == 1);
  CHECK(family.series().begin()->first[0].size() == max_label - 1);
  CHECK(family.series().begin()->second == 2);
}

TEST_CASE("the number of series has a bound; what is beyond it is counted together") {
  Counters family({"x_total", Type::counter, "", {"a", "b"}});
  for (std::size_t i = 0; i < max_series + 10; ++i) ++family.at({std::to_string(i), "y"});
  CHECK(family.series().size() == max_series + 1);
  CHECK(family.series().at({"other", "other"}) == 10);
  ++family.at({"3", "y"});
  CHECK(family.series().at({"3", "y"}) == 2);
  family.know({"new", "one"});
  CHECK(family.series().size() == max_series + 1);
}

TEST_CASE("a scope hides what it excludes") {
  Metrics metrics = fresh();
  metrics.know_targets({"web", "worker"});
  const std::string text = metrics.text(Form::prometheus, [](std::string_view hatch, std::string_view target) {
    return (hatch.empty() || hatch == "queue.ping") && (target.empty() || target == "worker");
  });
  CHECK_THAT(text, Contains("target=\"worker\""));
  CHECK_THAT(text, !Contains("target=\"web\""));
  CHECK_THAT(text, !Contains("stack.dump"));
  CHECK_THAT(text, Contains("hatchd_build_info"));
}

TEST_CASE("a time that was written can be read") {
  for (const auto ms : {0, 1, 999, 1000, 1763908844})
    CHECK(unix_seconds(rfc3339(WallTime{std::chrono::milliseconds(ms)})) == static_cast<double>(ms) / 1000);
  for (const char* bad : {"", "2025-11-23", "2025-11-23T14:40:44Z", "2025-11-23T14:40:44.12xZ",
                          "2025-11-23T14:40:44.123Z0", "2025-11-23T14:40:44.123+", "today"}) {
    CAPTURE(bad);
    CHECK_FALSE(unix_seconds(bad));
  }
}

TEST_CASE("OpenMetrics differs where it must") {
  Metrics metrics = fresh();
  const std::string text = all_of(metrics, Form::openmetrics);
  CHECK_THAT(text, Contains("# TYPE hatchd_runs counter\n"));
  CHECK_THAT(text, Contains("\nhatchd_runs_total{"));
  CHECK_THAT(text, Contains("by route pattern; \\\"other\\\" where"));
  CHECK(text.ends_with("# EOF\n"));
  const std::string plain = all_of(metrics);
  CHECK_THAT(plain, Contains("# TYPE hatchd_runs_total counter\n"));
  CHECK_THAT(plain, Contains("by route pattern; \"other\" where"));
  CHECK_THAT(plain, !Contains("# EOF"));
}
