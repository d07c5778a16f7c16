#include "recipe/recipe.hpp"

#include <boost/json.hpp>

#include "catch.hpp"

namespace {

namespace json = boost::json;

recipe::Recipe with(const std::string& params) { return {{{"kind", "http"}}, json::parse(params).as_object()}; }

}  // namespace

TEST_CASE("a parameter takes the place of a whole value, and stays data") {
  const auto recipe = with(R"({"msg": "a&b=c\r\nX: y", "n": 3, "on": true})");
  CHECK(recipe.fill("{msg}") == "a&b=c\r\nX: y");
  CHECK(recipe.fill("say {msg}") == "say {msg}");
  CHECK(recipe.fill("{n}") == "3");
  CHECK(recipe.fill("{absent}").empty());
  CHECK(recipe.filled(json::parse(R"({"a": ["{n}", {"b": "{on}"}], "c": "x"})")) ==
        json::parse(R"({"a": [3, {"b": true}], "c": "x"})"));
}

TEST_CASE("segments and query values are encoded, and no segment climbs") {
  const auto recipe = with(R"({"id": "a/b ?#%", "up": "..", "dot": ".", "none": "", "nul": "\u0000é"})");
  CHECK(recipe.url("http://h:1/x/{id}/y?q={id}&z=1") == "http://h:1/x/a%2Fb%20%3F%23%25/y?q=a%2Fb%20%3F%23%25&z=1");
  CHECK(recipe.url("http://h/{nul}") == "http://h/%00%C3%A9");
  CHECK(recipe.url("http://h") == "http://h");
  CHECK(recipe.url("http://h/?a") == "http://h/?a");
  CHECK(recipe.url("http://h/?a={up}") == "http://h/?a=..");
  for (const char* name : {"up", "dot", "none"})
    CHECK_THROWS_AS(recipe.url("http://h/{" + std::string(name) + "}/x"), hatch::Failure);
}
