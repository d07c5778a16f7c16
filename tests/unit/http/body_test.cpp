#include "http/body.hpp"

#include <boost/json.hpp>

#include "catch.hpp"
#include "http/duplicates.hpp"

using namespace hatchd;
namespace json = boost::json;

namespace {

const json::object schema = json::parse(R"({
  "type": "object",
  "properties": {
    "pause": {"type": "string"}, "limit": {"type": "integer"}, "group": {"type": "boolean"},
    "to": {"type": "array", "items": {"type": "string"}}
  }})")
                                .as_object();

http::Request with_body(std::string type, std::string body) {
  http::Request request;
  request.method = "POST";
  if (!type.empty()) request.headers.emplace_back("content-type", std::move(type));
  request.body = std::move(body);
  return request;
}

std::string code_of(const http::Request& request) {
  const auto read = http::read_invocation(request, schema);
  return read ? "" : read.error().code;
}

const char* form = "application/x-www-form-urlencoded";

}  // namespace

TEST_CASE("JSON, form and query say the same") {
  http::Request query;
  query.query = {{"target", "web"}, {"pause", "all"}, {"limit", "3"},
                 {"group", "true"}, {"dry-run", "1"}, {"wait", "2.5"}};
  for (const http::Request& request :
       {query, with_body(form, "target=web&pause=all&limit=3&group=on&dry_run=yes&wait=2500ms"),
        with_body("Application/JSON; charset=utf-8",
                  R"({"target": "web", "pause": "all", "limit": 3, "group": true, "dry_run": true, "wait": 2.5})")}) {
    const auto read = http::read_invocation(request, schema);
    REQUIRE(read);
    CHECK(read->params == json::object{{"pause", "all"}, {"limit", 3}, {"group", true}});
    CHECK(read->target == "web");
    CHECK(read->dry_run);
    CHECK(read->wait == 2.5);
    CHECK_FALSE(read->reason);
  }
}

TEST_CASE("every reserved name is taken out") {
  const auto read = http::read_invocation(
      with_body(form, "target=web&format=folded&reason=a+test&processes=main&profile=default&dry_run=0"), schema);
  REQUIRE(read);
  CHECK(read->params.empty());
  CHECK(read->format == "folded");
  CHECK(read->reason == "a test");
  CHECK(read->processes == "main");
  CHECK(read->profile == "default");
  CHECK_FALSE(read->dry_run);
  CHECK(http::read_invocation(with_body("application/json", R"({"processes": 42})"), schema)->processes == "42");
}

TEST_CASE("nothing at all is a request too") {
  CHECK(http::read_invocation(with_body("", ""), schema)->params.empty());
  CHECK(http::read_invocation(with_body("application/json", ""), schema)->params.empty());
}

TEST_CASE("a name given twice is named, wherever the two stand") {
  http::Request both = with_body(form, "limit=4");
  both.query = {{"limit", "3"}};
  http::Request spellings = with_body("application/json", R"({"dry_run": true})");
  spellings.query = {{"dry-run", "true"}};
  const std::pair<http::Request, const char*> rows[] = {
      {both, "/limit"},
      {spellings, "/dry_run"},
      {with_body(form, "pause=all&pause=all"), "/pause"},
      {with_body("application/json", R"({"pause": "all", "pause": "none"})"), "/pause"},
      {with_body("application/json", R"({"to": [{"x": 1}, {"a/b": 1, "a/b": 1}]})"), "/to/1/a~1b"},
  };
  for (const auto& [request, pointer] : rows) {
    const auto read = http::read_invocation(request, schema);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == "params-invalid");
    REQUIRE(read.error().errors.size() == 1);
    CHECK(read.error().errors[0].pointer == pointer);
    CHECK(read.error().errors[0].detail == "is given twice");
  }
}

TEST_CASE("every wrong parameter is listed") {
  const auto read = http::read_invocation(with_body(form, "limit=many&wait=soon&dry_run=maybe&group=perhaps"), schema);
  REQUIRE_FALSE(read);
  CHECK(read.error().code == "params-invalid");
  CHECK(read.error().errors.size() == 4);
  CHECK(code_of(with_body("application/json", R"({"target": 3})")) == "params-invalid");
  CHECK(code_of(with_body("application/json", R"({"dry_run": 1})")) == "params-invalid");
  CHECK(code_of(with_body("application/json", R"({"wait": -1})")) == "params-invalid");
  CHECK(code_of(with_body(form, "wait=nan")) == "params-invalid");
  CHECK(code_of(with_body("application/json", "[1]")) == "params-invalid");
  CHECK(code_of(with_body("application/json", "null")) == "params-invalid");
}

TEST_CASE("a body that does not match its type is 415 with the right option") {
  const auto remedy = [](const http::Request& request) {
    const auto read = http::read_invocation(request, schema);
    return read || read.error().code != "unsupported-media" ? std::string() : read.error().remedy;
  };
  CHECK(remedy(with_body(form, " {\"target\": \"web\"}")).find("--json") != std::string::npos);
  CHECK(remedy(with_body("", "{\"target\": \"web\"}")).find("--json") != std::string::npos);
  CHECK(remedy(with_body("application/json", "target=web")).find("leave out the Content-Type") != std::string::npos);
  CHECK(remedy(with_body("multipart/form-data; boundary=x", "--x")).find("-d NAME=VALUE") != std::string::npos);
  CHECK(remedy(with_body("text/plain", "target=web")).find("-d NAME=VALUE") != std::string::npos);
  http::Request packed = with_body("application/json", "{}");
  packed.headers.emplace_back("content-encoding", "gzip");
  CHECK_FALSE(remedy(packed).empty());
}

TEST_CASE("what cannot be decoded is malformed") {
  CHECK(code_of(with_body("application/json", "{\"a\": ")) == "malformed");
  CHECK(code_of(with_body("application/json", "{\"a\": \"\xff\"}")) == "malformed");
  CHECK(code_of(with_body("application/json", std::string(5000, '['))) == "malformed");
  CHECK(code_of(with_body(form, "a=%00")) == "malformed");
  CHECK(code_of(with_body(form, "a=%zz")) == "malformed");
}

TEST_CASE("duplicates are found at any depth and only where they are") {
  CHECK(http::duplicate_members(R"({"a": {"b": 1}, "b": [{"a": 1}, {"a": 2}]})").empty());
  CHECK(http::duplicate_members(R"([[{"x": 1, "\u0078": 2}]])") == std::vector<std::string>{"/0/0/x"});
  CHECK(http::duplicate_members(R"({"a": 1, "a)").empty());
}

TEST_CASE("a body of too many values is refused before it is read") {
  const auto read = [](std::string body) {
    return http::read_invocation(with_body("application/json", std::move(body)), schema);
  };
  const auto members = [](int count) {
    std::string body = "{";
    for (int i = 0; i < count; ++i) body += (i ? ", \"m" : "\"m") + std::to_string(i) + "\": \",[{\\\"\"";
    return body + "}";
  };
  const auto elements = [](int count) {
    std::string body = "{\"to\": [[]";
    for (int i = 1; i < count; ++i) body += ",[]";
    return body + "]}";
  };
  CHECK(read(members(256)));
  CHECK(read(elements(9'998)));  // and the array and the object
  for (const auto& [body, what] :
       {std::pair{members(257), "more than 256 members"}, std::pair{elements(9'999), "more than 10000 values"},
        std::pair{"{\"to\": [" + std::string(20'000, ','), "more than 10000 values"}}) {
    const auto refused = read(body);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == "params-invalid");
    CHECK(refused.error().detail.find(what) != std::string::npos);
  }
}
