#include "http/message.hpp"

#include "catch.hpp"

using namespace hatchd;
using http::Format;

namespace {

http::Request accepting(std::string accept) {
  http::Request request;
  request.headers.emplace_back("accept", std::move(accept));
  return request;
}

}  // namespace

TEST_CASE("the format by Accept") {
  struct Row {
    const char* accept;
    Format fallback, expected;
  };
  const Row rows[] = {
      {"", Format::text, Format::text},
      {"*/*", Format::text, Format::text},
      {"*/*", Format::json, Format::json},
      {"application/json", Format::text, Format::json},
      {"application/problem+json", Format::text, Format::json},
      {"APPLICATION/JSON", Format::text, Format::json},
      {"text/plain", Format::json, Format::text},
      {"text/event-stream", Format::json, Format::events},
      {"text/*", Format::json, Format::text},  // a stream is for who names it
      {"application/*", Format::text, Format::json},
      {"application/json, */*", Format::text, Format::json},
      {"application/json;q=0.1, text/plain;q=0.9", Format::json, Format::text},
      {"application/json;q=0, */*", Format::json, Format::text},
      {"text/plain;q=0.5;charset=utf-8, application/json ; q=0.501", Format::text, Format::json},
      {"text/html,application/xhtml+xml,*/*;q=0.8", Format::text, Format::text},
      {"text/plain, application/json", Format::json, Format::text},
      {"image/png", Format::json, Format::json},
      {"application/json;q=abc", Format::text, Format::text},
      {",,;;q=,*/*;", Format::json, Format::json},
  };
  for (const Row& row : rows) {
    CAPTURE(row.accept);
    CHECK(http::format_of(accepting(row.accept), row.fallback) == row.expected);
  }
}

TEST_CASE("several Accept fields are one list") {
  http::Request request = accepting("text/plain;q=0.2");
  request.headers.emplace_back("accept", "application/json;q=0.7");
  CHECK(http::format_of(request, Format::text) == Format::json);
}

TEST_CASE("?format= comes before Accept, and unknown names are left to the handler") {
  http::Request request = accepting("application/json");
  request.query = {{"format", "text"}};
  CHECK(http::format_of(request, Format::json) == Format::text);
  request.query = {{"format", "events"}};
  CHECK(http::format_of(request, Format::json) == Format::events);
  request.query = {{"format", "folded"}};
  CHECK(http::format_of(request, Format::text) == Format::text);
}

TEST_CASE("what a handler does not offer is 406") {
  const auto refused = http::acceptable(accepting("image/png"), {Format::json, Format::text}, Format::json);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == "not-acceptable");
  CHECK(refused.error().remedy.find("text/plain") != std::string::npos);
  CHECK_FALSE(http::acceptable(accepting("text/event-stream"), {Format::json}, Format::json));
  CHECK(http::acceptable(accepting("text/event-stream, */*;q=0.1"), {Format::json}, Format::json).value() ==
        Format::json);
  CHECK(http::acceptable({}, {Format::text}, Format::text).value() == Format::text);
}

TEST_CASE("the format nobody asked for") {
  CHECK(http::default_format("/v1/runs") == Format::json);
  CHECK(http::default_format("/v1x") == Format::text);
  CHECK(http::default_format("/stack.dump") == Format::text);
}

TEST_CASE("percent-decoding") {
  CHECK(http::url_decode("a%20b+c%2F", false) == "a b+c/");
  CHECK(http::url_decode("a+b", true) == "a b");
  CHECK(http::url_decode("%C3%A4", false) == "\xC3\xA4");
  CHECK(http::url_decode("%EF%BF%BD", false) == "\xEF\xBF\xBD");
  for (const char* wrong : {"%", "%2", "%zz", "%2x", "%00", "%C3", "%ff", "%C0%80", "%ED%A0%80"}) {
    CAPTURE(wrong);
    CHECK_FALSE(http::url_decode(wrong, false));
  }
}

TEST_CASE("forms") {
  const auto fields = http::parse_form("a=1&b=x+y&&c&d=%26=&a=2");
  REQUIRE(fields);
  CHECK(*fields == http::Fields{{"a", "1"}, {"b", "x y"}, {"c", ""}, {"d", "&="}, {"a", "2"}});
  CHECK(http::parse_form("")->empty());
  CHECK_FALSE(http::parse_form("a=%G0"));
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a" + std::to_string(i) + "=1&";
  CHECK_FALSE(http::parse_form(many));
}

TEST_CASE("headers and query by name") {
  http::Request request;
  request.headers = {{"host", "a"}, {"x", "1"}, {"x", "2"}};
  request.query = {{"q", ""}, {"q", "b"}};
  CHECK(request.header("x") == "1");
  CHECK(request.header("y").empty());
  REQUIRE(request.query_value("q"));
  CHECK(request.query_value("q")->empty());
  CHECK_FALSE(request.query_value("r"));
}
