#include "http/router.hpp"

#include "catch.hpp"

using namespace hatchd;

namespace {

http::Router router() {
  http::Router router;
  const auto add = [&](const char* method, const char* pattern) {
    router.add({method, pattern, access::Action::list, {}, http::Format::json});
  };
  add("GET", "/");
  add("GET", "/livez");
  add("GET", "/robots.txt");
  add("GET", "/v1/runs");
  add("GET", "/v1/runs/{id}");
  add("DELETE", "/v1/runs/{id}");
  add("GET", "/v1/runs/{id}/artifacts/{name}");
  add("GET", "/{group.verb}");
  add("POST", "/{group.verb}");
  return router;
}

std::string pattern(std::string_view method, std::string_view path) {
  const http::Router all = router();
  const auto match = all.find(method, path);
  return match.route ? match.route->pattern : match.allowed.empty() ? "none" : "405";
}

}  // namespace

TEST_CASE("routes by method and path") {
  CHECK(pattern("GET", "/") == "/");
  CHECK(pattern("HEAD", "/livez") == "/livez");
  CHECK(pattern("GET", "/v1/runs/01J") == "/v1/runs/{id}");
  CHECK(pattern("DELETE", "/v1/runs/01J") == "/v1/runs/{id}");
  CHECK(pattern("PUT", "/v1/runs/01J") == "405");
  CHECK(pattern("GET", "/stack.dump") == "/{group.verb}");
  CHECK(pattern("POST", "/stack.dump") == "/{group.verb}");
  CHECK(pattern("GET", "/stack") == "none");
  CHECK(pattern("GET", "/v1/runs/") == "none");
  CHECK(pattern("GET", "//") == "none");
  CHECK(pattern("GET", "/v1/runs/a/artifacts/x/y") == "none");
  CHECK(pattern("GET", "*") == "none");
  CHECK(pattern("GET", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9") == "none");
}

TEST_CASE("the literal route comes before the pattern, for every method") {
  CHECK(pattern("GET", "/robots.txt") == "/robots.txt");
  CHECK(pattern("POST", "/robots.txt") == "405");
}

TEST_CASE("captures and allowed methods") {
  const http::Router all = router();
  const auto match = all.find("GET", "/v1/runs/01J/artifacts/flame.svg");
  REQUIRE(match.route);
  CHECK(match.captures.at("id") == "01J");
  CHECK(match.captures.at("name") == "flame.svg");
  CHECK(all.find("GET", "/stack.dump").captures.at("group.verb") == "stack.dump");
  CHECK(all.find("PATCH", "/v1/runs/1").allowed == std::vector<std::string>{"GET", "HEAD", "DELETE"});
}

TEST_CASE("the nearest route") {
  const http::Router all = router();
  CHECK(all.nearest("/v1/run") == "/v1/runs");
  CHECK(all.nearest("/livz") == "/livez");
  CHECK(all.nearest("/v1/runs/") == "/v1/runs");
  CHECK(all.nearest("/something/else").empty());
  CHECK(all.nearest(std::string(10000, '/')).empty());
}

TEST_CASE("a route stands once") {
  http::Router all = router();
  CHECK_THROWS_AS(all.add({"GET", "/livez", access::Action::health, {}, http::Format::text}), std::logic_error);
}
