// What the throw-away child says about plugins, good and bad.
#include "base/json.hpp"
#include "catch.hpp"
#include "plugin_under_test.hpp"

using namespace hatchd;
namespace json = boost::json;

TEST_CASE("the manifest of a plugin that behaves") {
  const ManifestAnswer answer = manifest_of("probe");
  REQUIRE(answer.type == "manifest");
  CHECK(answer.end == "exit status 0");
  CHECK(answer.body.at("plugin") == "probe");
  CHECK(object_of(answer.body, "configuration"));
  CHECK(object_of(answer.body, "profile"));
  const json::object* echo = nullptr;
  const json::object* target = nullptr;
  for (const json::value& hatch : answer.body.at("hatches").as_array()) {
    if (hatch.at("id") == "probe.echo") echo = &hatch.as_object();
    if (hatch.at("id") == "probe.target") target = &hatch.as_object();
  }
  REQUIRE(echo);
  CHECK(echo->at("effect") == "observe");
  CHECK(echo->at("target") == "none");
  CHECK(echo->at("timeout_ms") == 30'000);
  CHECK(echo->at("preflight") == false);
  CHECK_FALSE(echo->contains("kind"));
  const json::object& properties = echo->at("parameters").at("properties").as_object();
  CHECK(properties.at("words") ==
        json::parse(R"({"type": "array", "items": {"type": "string"}, "description": "Several texts",
                                                 "default": ["one", "two"]})"));
  CHECK(properties.at("secret").at("secret") == true);
  REQUIRE(target);
  CHECK(target->at("flags") == json::array{"environment", "target-log", "target-netfiles"});
  CHECK(target->at("max_pause_us") == 200'000);
}

TEST_CASE("plugins that are refused, and why") {
  struct Case {
    const char* fixture;
    const char* detail;
  };
  const Case one = GENERATE(
      Case{"no_entry", "it does not export hatch_plugin_entry()"}, Case{"bad_magic", "without the magic number"},
      Case{"future_major", "built for version 2.7 of the plugin contract, this hatchd speaks version 1.2"},
      Case{"short_struct", "version 1.0 has 64"}, Case{"short_hatch", "version 1.0 has 112"},
      Case{"duplicate_id", "\"broken.twice\" is there twice"}, Case{"null_entry", "returned NULL"},
      Case{"starts_thread_at_load", "it started a thread while it was loaded"});
  CAPTURE(one.fixture);
  const ManifestAnswer answer = manifest_of(one.fixture);
  REQUIRE(answer.type == "failed");
  CHECK(answer.end == "exit status 12");
  const Problem problem = problem_from_json(answer.body.at("problem").as_object());
  CHECK(problem.code == "plugin-broken");
  CAPTURE(problem.detail);
  CHECK(problem.detail.find(one.detail) != std::string::npos);
  CHECK_FALSE(problem.remedy.empty());
}

TEST_CASE("a plugin that crashes when it is opened takes only the child along") {
  const ManifestAnswer answer = manifest_of("crash_at_load");
  CHECK(answer.type.empty());
  CHECK(answer.end == "signal 11 (SIGSEGV)");
}

TEST_CASE("a plugin that hangs when it is opened is the parent's to kill") {
  const ManifestAnswer answer = manifest_of("hang_at_load", 300);
  CHECK(answer.type.empty());
  CHECK(answer.end == "running");
}
