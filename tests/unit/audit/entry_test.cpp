#include "audit/entry.hpp"

#include <boost/json.hpp>

#include "base/clock.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::audit;
namespace json = boost::json;

TEST_CASE("traceparent: what is valid is taken, the rest is nothing") {
  const std::string valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  CHECK(valid_traceparent(valid) == valid);
  CHECK(valid_traceparent("cc" + valid.substr(2) + "-what-comes-later") ==
        "cc" + valid.substr(2) + "-what-comes-later");
  const std::vector<std::string> invalid{"",
                                         "00",
                                         valid + "-more",
                                         "ff" + valid.substr(2),
                                         "0G" + valid.substr(2),
                                         "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                                         "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                         "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                         valid.substr(0, 54) + "\n",
                                         "cc" + valid.substr(2) + "-a\x1b[2J",
                                         "cc" + valid.substr(2) + "-" + std::string(300, 'a'),
                                         "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
  for (const std::string& bad : invalid) {
    CAPTURE(bad);
    CHECK(valid_traceparent(bad).empty());
  }
}

TEST_CASE("a header that comes twice is no header") {
  http::Request request;
  request.headers = {{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};
  CHECK_FALSE(origin_of(request).traceparent.empty());
  request.headers.push_back(request.headers.front());
  CHECK(origin_of(request).traceparent.empty());
}

TEST_CASE("begin and end are told from a line without parsing it") {
  const std::string run = new_ulid();
  for (const auto& [name, what] : {std::pair{"begin", RunEvent::begin}, std::pair{"end", RunEvent::end}}) {
    json::object line = entry(name);
    line["run"] = run;
    line["hatch"] = "a.b";
    const std::string text = json::serialize(line);
    CHECK(run_event_of(text).what == what);
    CHECK(run_event_of(text).run == run);
    CHECK(id_of(text) == std::string(line.at("id").as_string()));
  }
  json::object cancel = entry("cancel");
  cancel["run"] = run;
  CHECK(run_event_of(json::serialize(cancel)).what == RunEvent::other);
  CHECK(run_event_of("{}").what == RunEvent::other);
  CHECK(run_event_of(std::string(200, 'x')).what == RunEvent::other);
}

TEST_CASE("the caller of a line") {
  access::Caller caller;
  caller.name = "al\nice";
  caller.via = "unix";
  caller.uid = 1000;
  caller.login = "alice";
  caller.role = access::Role::operator_;
  json::object line = entry("begin");
  add_caller(line, caller, {4711, "unix", "01REQUEST", ""});
  const json::object& who = line.at("caller").as_object();
  CHECK(who.at("name") == "al\xEF\xBF\xBDice");  // U+FFFD
  CHECK(who.at("uid") == 1000);
  CHECK(who.at("pid") == 4711);
  CHECK(who.at("role") == "operator");
  CHECK(line.at("request") == "01REQUEST");
  CHECK(line.at("traceparent").is_null());
}
