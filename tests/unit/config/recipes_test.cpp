#include "config/recipes.hpp"

#include <boost/json.hpp>

#include "catch.hpp"

namespace {

namespace json = boost::json;

// Every failure of one recipe, a line each.
std::string told(const std::string& recipe) {
  const json::object targets{{"web", json::object{}}};
  std::vector<hatchd::FieldError> failures;
  hatchd::config::check_recipe(json::parse(recipe).as_object(), "/hatches/a.b", targets, failures);
  std::string text;
  for (const auto& failure : failures) text += failure.pointer.substr(12) + ": " + failure.detail + "\n";
  return text;
}

}  // namespace

TEST_CASE("recipes as the documentation writes them are in order") {
  CHECK(told(R"({"timeout": "3s"})").empty());
  CHECK(told(R"({"kind": "signal", "target": "web", "signal": "USR1", "expect": {"log": "reopened"}})").empty());
  CHECK(told(R"({"kind": "command", "argv": ["/bin/ls", "--", "{path}"], "params": {"path": {"type": "string"}}})")
            .empty());
  CHECK(told(R"({"kind": "http", "target": "web", "params": {"id": {"type": "integer"}, "msg": {"type": "string"}},
                 "request": {"method": "POST", "url": "https://[::1]:8000/a/{id}/b?x={msg}&y=1", "form": {"m": "{msg}"}},
                 "expect": {"status": 500, "log": "{msg}", "json": {"/ok": true, "/id": "{id}"}}})")
            .empty());
}

TEST_CASE("what belongs to another kind, or to none, is named") {
  CHECK(told(R"({"title": "x", "signal": "USR1"})") ==
        "/signal: belongs to a recipe, which has a \"kind\": \"http\", \"signal\" or \"command\"\n"
        "/title: belongs to a recipe, which has a \"kind\": \"http\", \"signal\" or \"command\"\n");
  CHECK(told(R"({"kind": "signal", "target": "web", "argv": ["/x"]})") ==
        ": a recipe of kind signal needs \"signal\"\n/argv: does not belong to a recipe of kind signal\n");
  CHECK(told(R"({"kind": "signal", "target": "wbe", "signal": "USR1"})") ==
        "/target: there is no target \"wbe\" in \"targets\"\n");
  CHECK(told(R"({"kind": "http", "request": {"url": "http://h/"}, "expect": {"log": "x"}})") ==
        "/expect/log: is looked for in the log of a target: write \"target\"\n");
}

TEST_CASE("a parameter stands for a whole value, and nowhere else") {
  const auto with_url = [](const std::string& url) {
    return told(R"({"kind": "http", "params": {"id": {"type": "string"}}, "request": {"url": ")" + url + R"("}})");
  };
  CHECK(with_url("http://h/{id}?q={id}").empty());
  CHECK(with_url("http://h/x{id}") == "/request/url: {id} stands for a whole value, and nothing may stand beside it\n");
  CHECK(with_url("http://h/?q=a{id}") ==
        "/request/url: {id} stands for a whole value, and nothing may stand beside it\n");
  CHECK(with_url("http://h/?{id}=a") == "/request/url: {name} may not stand in the name of a query value\n");
  CHECK(with_url("http://{id}/") == "/request/url: {name} may not stand in the host\n");
  CHECK(with_url("http://h/{idd}") == "/request/url: {idd} names no parameter of \"params\": did you mean {id}?\n");
  CHECK(with_url("ftp://h/") == "/request/url: must begin with http:// or https://\n");
  CHECK(with_url("http:///x") == "/request/url: names no host\n");
  CHECK(with_url("http://h/a b") == "/request/url: holds a blank or a control character; write %20 and the like\n");
  CHECK(told(R"({"kind": "command", "argv": ["ls", "-{x}"], "params": {"x": {"type": "string"}}})") ==
        "/argv/0: must be the absolute path of a program; there is no shell\n"
        "/argv/1: {x} stands for a whole value, and nothing may stand beside it\n");
  CHECK(told(R"({"kind": "http", "params": {"t": {"type": "string"}},
                 "request": {"url": "http://h/", "headers": {"X": "{t}", "Y": "a\r\nZ: b"}}})") ==
        "/request/headers/X: {name} may not stand in a header\n"
        "/request/headers/Y: is no header: line breaks, and colons and blanks in its name, are not allowed\n");
}

TEST_CASE("a parameter that is an argument of a command has to be fit for one") {
  const json::object schema = hatchd::config::recipe_parameters(
      json::parse(
          R"({"argv": ["/x", "{a}", "{b}", "{mark}"], "params": {"a": {"type": "string"}, "b": {"type": "string", "format": "uri"},
          "c": {"type": "string"}}})")
          .as_object());
  const json::object& properties = schema.at("properties").as_object();
  CHECK(properties.at("a").at("format") == "argument");
  CHECK(properties.at("b").at("format") == "uri");
  CHECK(!properties.at("c").as_object().contains("format"));
}

TEST_CASE("parameters without a default are required") {
  const json::object schema = hatchd::config::recipe_parameters(
      json::parse(R"({"params": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}})").as_object());
  CHECK(schema.at("required") == json::array{"a"});
  CHECK(told(R"({"kind": "command", "argv": ["/x"], "params": {"a": {"type": "strin"}}})")
            .starts_with("/params/a/type: "));
}
