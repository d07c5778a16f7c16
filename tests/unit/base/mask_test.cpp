#include "base/mask.hpp"

#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/problem.hpp"
#include "catch.hpp"

using namespace hatchd;
namespace json = boost::json;

TEST_CASE("problems leave the process without secrets") {
  Problem problem{"run-failed", "cannot log in at redis://:hunter2@cache:6379/0"};
  problem.missing = {"a server that takes password=hunter2"};
  problem.remedy = "try PASSWORD=hunter2";
  problem.errors = {{"/url", "token=hunter2 is refused"}};
  const std::string text = json::serialize(to_json(problem));
  CHECK(text.find("hunter2") == std::string::npos);
  CHECK(text.find("redis://:******@cache:6379/0") != std::string::npos);
}

TEST_CASE("values are masked by names and by text, and stay JSON") {
  const json::value masked = mask::value(
      {{"url", "amqp://u:p@h"}, {"password", "x"}, {"list", {1, "token=abc"}}, {"none", nullptr}, {"tokens", {"a"}}});
  const json::value expected{{"url", "amqp://u:******@h"},
                             {"password", "******"},
                             {"list", {1, "token=******"}},
                             {"none", nullptr},
                             {"tokens", {"******"}}};
  CHECK(masked == expected);
  json::value deep = "x";
  for (int i = 0; i < 300; ++i) deep = json::array{deep};
  CHECK(mask::value(deep) == json::value("******"));
}

TEST_CASE("an operator's rules hold for the whole process") {
  mask::use(json::object{{"mask", json::object{{"keys", json::array{"room"}}, {"allow", json::array{"csrf_token"}}}}});
  CHECK(mask::text("room=12b csrf_token=abc") == "room=****** csrf_token=abc");
  mask::use(json::object{});
  CHECK(mask::text("room=12b csrf_token=abc") == "room=12b csrf_token=******");
}
