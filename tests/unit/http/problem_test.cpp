#include <boost/json.hpp>

#include "catch.hpp"
#include "http/message.hpp"

using namespace hatchd;
using http::Format;
namespace json = boost::json;

namespace {

std::string header_of(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

}  // namespace

TEST_CASE("every code has the status of the contract") {
  const std::pair<const char*, unsigned> rows[] = {{"malformed", 400},
                                                   {"unauthenticated", 401},
                                                   {"role-missing", 403},
                                                   {"hatch-disabled", 403},
                                                   {"cross-site", 403},
                                                   {"read-only", 403},
                                                   {"route-unknown", 404},
                                                   {"hatch-unknown", 404},
                                                   {"target-unknown", 404},
                                                   {"run-unknown", 404},
                                                   {"method-not-allowed", 405},
                                                   {"not-acceptable", 406},
                                                   {"target-gone", 409},
                                                   {"target-ambiguous", 409},
                                                   {"run-ended", 409},
                                                   {"too-large", 413},
                                                   {"unsupported-media", 415},
                                                   {"host-unknown", 421},
                                                   {"params-invalid", 422},
                                                   {"target-required", 422},
                                                   {"idempotency-mismatch", 422},
                                                   {"run-failed", 424},
                                                   {"run-timeout", 424},
                                                   {"run-crashed", 424},
                                                   {"run-cancelled", 424},
                                                   {"rights-missing", 424},
                                                   {"cooldown", 429},
                                                   {"busy", 429},
                                                   {"rate", 429},
                                                   {"header-too-large", 431},
                                                   {"internal", 500},
                                                   {"shutting-down", 503},
                                                   {"overloaded", 503},
                                                   {"audit-unwritable", 503},
                                                   {"no-space", 507}};
  for (const auto& [code, status] : rows) {
    CAPTURE(code);
    CHECK(http::status_of(code) == status);
  }
  CHECK(http::status_of("no-such-code") == 500);
}

TEST_CASE("a problem as JSON") {
  http::Request request;
  request.id = "01J0000000000000000000TEST";
  Problem problem{"params-invalid", "two \"wrong\" parameters"};
  problem.errors = {{"/pause", "must be one of least, all, none"}, {"", "is odd"}};
  problem.remedy = "read the schema";
  problem.missing = {"CAP_SYS_PTRACE"};
  problem.candidates = {"web", "worker"};
  const http::Response response =
      http::problem_response(problem, request, Format::json, "\"run\": {\"id\": 1}, \"hatch\": \"a.b\"");
  CHECK(response.status == 422);
  CHECK(header_of(response, "Content-Type") == "application/problem+json");
  CHECK(response.body.find("\n  \"status\": 422") != std::string::npos);  // for people too
  CHECK(response.body.ends_with(",\n  \"run\": {\"id\": 1}, \"hatch\": \"a.b\"\n}\n"));
  const json::object object = json::parse(response.body).as_object();
  CHECK(object.at("type") == "urn:hatchd:problem:params-invalid");
  CHECK(object.at("title") == "The parameters are not valid");
  CHECK(object.at("status") == 422);
  CHECK(object.at("detail") == "two \"wrong\" parameters");
  CHECK(object.at("instance") == "urn:hatchd:request:01J0000000000000000000TEST");
  CHECK(object.at("code") == "params-invalid");
  CHECK(object.at("remedy") == "read the schema");
  CHECK(object.at("missing") == json::array{"CAP_SYS_PTRACE"});
  CHECK(object.at("candidates") == json::array{"web", "worker"});
  CHECK(object.at("errors").at(0).at("pointer") == "/pause");
  CHECK(object.at("run").at("id") == 1);
  CHECK(object.at("hatch") == "a.b");
}

TEST_CASE("a problem without details has no empty members") {
  const http::Response response = http::problem_response({"busy", "one at a time"}, {}, Format::events);
  const json::object object = json::parse(response.body).as_object();
  CHECK_FALSE(object.contains("missing"));
  CHECK_FALSE(object.contains("remedy"));
  CHECK_FALSE(object.contains("errors"));
  CHECK_FALSE(object.contains("instance"));
  CHECK(object.at("code") == "busy");
}

TEST_CASE("a problem as text") {
  Problem problem{"rights-missing", "hatchd may not trace web"};
  problem.missing = {"CAP_SYS_PTRACE", "yama"};
  problem.remedy = "start hatchd with rights";
  CHECK(http::problem_response(problem, {}, Format::text).body ==
        "refused (rights-missing): hatchd may not trace web\nmissing: CAP_SYS_PTRACE, yama\nremedy: start hatchd with "
        "rights\n");
  CHECK(http::problem_response({"run-failed", "the server said 550"}, {}, Format::text).body ==
        "failed (run-failed): the server said 550\n");
  CHECK(http::problem_response({"run-unknown", "there is no such run"}, {}, Format::text).body ==
        "refused (run-unknown): there is no such run\n");
  Problem params{"params-invalid", "a parameter is not valid"};
  params.errors = {{"/count", "must be a number"}};
  CHECK(http::problem_response(params, {}, Format::text).body ==
        "refused (params-invalid): a parameter is not valid\n  /count: must be a number\n");
}

TEST_CASE("no detail can forge a line or reach a terminal raw") {
  const http::Response response = http::problem_response({"run-failed", "a\nremedy: \x1b[2J"}, {}, Format::text);
  CHECK(response.body.find('\n') == response.body.size() - 1);
  CHECK(response.body.find('\x1b') == std::string::npos);
}

TEST_CASE("headers that a problem brings") {
  CHECK(header_of(http::problem_response({"unauthenticated", ""}, {}, Format::json), "WWW-Authenticate") ==
        "Bearer realm=\"hatchd\"");
  CHECK(header_of(http::problem_response({"cooldown", ""}, {}, Format::json, {}, 17), "Retry-After") == "17");
  CHECK_FALSE(header_of(http::problem_response({"overloaded", ""}, {}, Format::text), "Retry-After").empty());
  CHECK(header_of(http::problem_response({"malformed", ""}, {}, Format::text), "Retry-After").empty());
}
