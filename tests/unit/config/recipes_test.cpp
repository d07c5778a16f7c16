#include "config/recipes.hpp"

#include <boost/json.hpp>

#include "catch.hpp"

namespace {

namespace json = boost::json;

// Every failure of one recipe, a line each.
std::string told(const std::string& recipe,
                 const json::object& targets = {{"web", {{"name", "web"}, {"log", {{"file", "/web.log"}}}}}}) {
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
  CHECK(with_url("http://h:65536/").starts_with("/request/url: must have a port from 1 to 65535"));
  CHECK(with_url("http://h/a b") == "/request/url: holds a blank or a control character; write %20 and the like\n");
  CHECK(told(R"({"kind": "command", "argv": ["ls", "-{x}"], "params": {"x": {"type": "string"}}})") ==
        "/argv/0: must be the absolute path of a program; there is no shell\n"
        "/argv/1: {x} stands for a whole value, and nothing may stand beside it\n");
  CHECK(told(R"({"kind": "http", "params": {"t": {"type": "string"}},
                 "request": {"url": "http://h/", "headers": {"X": "{t}", "Y": "a\r\nZ: b"}}})") ==
        "/request/headers/X: {name} may not stand in a header\n"
        "/request/headers/Y: is no header: line breaks, and colons and blanks in its name, are not allowed\n");
}

TEST_CASE("what is looked for in a log that a program reads has to be fit for its argument") {
  const std::string recipe =
      R"({"kind": "http", "target": "web", "request": {"url": "http://h/"}, "expect": {"log": "TEXT"},
          "params": {"q": {"type": "string"}}})";
  const auto of = [&](const char* text) {
    std::string filled = recipe;
    filled.replace(filled.find("TEXT"), 4, text);
    return json::parse(filled).as_object();
  };
  const auto log = [](const char* text) { return json::object{{"web", {{"pid", 1}, {"log", json::parse(text)}}}}; };
  const auto format = [&](const json::object& targets) {
    const json::object schema = hatchd::config::recipe_parameters(of("{q}"), targets);
    const json::value* found = schema.at("properties").at("q").as_object().if_contains("format");
    return found ? std::string(found->as_string()) : std::string();
  };
  const json::object program = log(R"({"command": ["/x", "{mark}"]})");
  CHECK(format(program) == "plain-argument");
  CHECK(format({{"*", program.at("web")}}) == "plain-argument");
  CHECK(format(log(R"({"command": ["/x", "--", "{mark}"]})")) == "argument");
  CHECK(format(log(R"({"command": ["/x"]})")).empty());
  CHECK(format(log(R"({"file": "/x"})")).empty());
  const auto told = [&](const char* text) {
    std::vector<hatchd::FieldError> failures;
    hatchd::config::check_recipe(of(text), "", program, failures);
    return failures.empty() ? std::string() : failures.front().pointer + ": " + failures.front().detail;
  };
  CHECK(told("it was sent").empty());
  CHECK(told("{q}").empty());
  CHECK(told("{mark}").empty());
  CHECK(told("-f").starts_with("/expect/log: must be fit for an argument"));
}

TEST_CASE("a parameter that is an argument or a segment has to be fit for one") {
  const auto properties_of = [](const std::string& recipe) {
    return hatchd::config::recipe_parameters(json::parse(recipe).as_object(), {}).at("properties").as_object();
  };
  const json::object properties = properties_of(
      R"({"argv": ["/x", "{a}", "{b}", "{mark}", "{n}", "{any}", "{both}", "--", "{both}", "{d}", "{m}"],
          "params": {"a": {"type": "string"}, "b": {"type": "string", "format": "uri"}, "c": {"type": "string"},
                     "d": {"type": "string"}, "n": {"type": "integer", "minimum": -5}, "m": {"type": "integer"},
                     "any": {}, "both": {"type": "string", "format": "argument"}}})");
  CHECK(properties.at("a") == json::value{{"type", "string"}, {"format", "plain-argument"}});
  CHECK(properties.at("b").at("format") == "uri");
  CHECK(!properties.at("c").as_object().contains("format"));
  CHECK(properties.at("d").at("format") == "argument");
  CHECK(properties.at("n").at("minimum") == 0);
  CHECK(!properties.at("m").as_object().contains("minimum"));
  CHECK(properties.at("any").at("minimum") == 0);
  CHECK(properties.at("both").at("format") == "plain-argument");
  const json::object of_url = properties_of(
      R"({"request": {"url": "http://h/a/{id}/{no}?q={q}&r=/{q}"}, "params": {"id": {}, "q": {"type": "string"}}})");
  CHECK(of_url.at("id") == json::value{{"format", "path-segment"}});
  CHECK(!of_url.at("q").as_object().contains("format"));
}

TEST_CASE("what the recipe itself offers for a parameter is fit for its place") {
  const std::string option =
      ": must be fit for an argument of a program: less than 128 KiB without a NUL byte, and not beginning with \"-\", "
      "which would make it an option; where the program knows that, write \"--\" before {a} in argv\n";
  CHECK(told(R"({"kind": "command", "argv": ["/x", "{a}", "--", "{b}"], "params": {
                 "a": {"enum": ["-v", "v", -1], "default": "v", "examples": ["v", -1]}, "b": {"default": "-v"}}})") ==
        "/params/a/enum/0" + option + "/params/a/enum/2" + option + "/params/a/examples/1" + option);
  CHECK(told(R"({"kind": "http", "request": {"url": "http://h/{a}"}, "params": {"a": {"default": ""}}})") ==
        "/params/a/default: must be a segment of a path: not empty, \".\" or \"..\"\n");
}

TEST_CASE("names that nobody can give, and variables that are none") {
  CHECK(told(R"({"kind": "command", "argv": ["/x", "{target}", "{msg}"], "params": {"target": {}, "msg": {}}})") ==
        "/params/target: is a name that belongs to the request itself, so nobody could give it; write another\n");
  CHECK(told(R"({"kind": "command", "argv": ["/x", "{a}"], "params": {"a": {}},
                 "environment": {"A=B": "x", "": "y", "N": "a\u0000b", "P": "{a}", "J": "{\"a\": 1}", "H": "/x"}})") ==
        "/environment/A=B: is no name of a variable: it is not empty, and holds no \"=\"\n"
        "/environment/: is no name of a variable: it is not empty, and holds no \"=\"\n"
        "/environment/N: holds a NUL byte\n"
        "/environment/P: {a} may not stand in the environment; write it in argv\n");
}

TEST_CASE("a signal that there is, by its name, with an effect that is honest") {
  const auto signal = [](const std::string& name, const std::string& effect = "act") {
    return told(R"({"kind": "signal", "target": "web", "signal": ")" + name + R"(", "effect": ")" + effect + R"("})");
  };
  for (const char* known : {"USR1", "HUP", "RTMIN", "RTMIN+3", "RTMAX-2", "RTMAX"}) CHECK(signal(known).empty());
  const std::string no_such =
      "/signal: there is no such signal; write its name without SIG, as signal(7) has it, such as \"USR1\"";
  CHECK(signal("SIGUSR1") == no_such + ": did you mean \"USR1\"?\n");
  CHECK(signal("usr1") == no_such + ": did you mean \"USR1\"?\n");
  CHECK(signal("HUPP") == no_such + ": did you mean \"HUP\"?\n");
  CHECK(signal("10") == no_such + "\n");
  CHECK(signal("RTMIN+99").starts_with(no_such));
  CHECK(signal("KILL") ==
        "/signal: ends the target, whatever it does about it: write \"effect\": \"disrupt\", and \"enabled\": true\n");
  CHECK(signal("STOP", "observe") ==
        "/signal: stops the target, whatever it does about it: write \"effect\": \"disrupt\", and \"enabled\": true\n");
  CHECK(signal("KILL", "disrupt").empty());
  CHECK(signal("USR1", "observe") ==
        "/effect: a signal is more than a look: write \"act\", or \"disrupt\" where it may end the target\n");
}

TEST_CASE("what is expected in a log takes a target with one") {
  const char* recipe = R"({"kind": "http", "target": "web", "request": {"url": "http://h/"}, "expect": {"log": "x"}})";
  CHECK(told(recipe).empty());
  const std::string none =
      "/expect/log: is looked for in the target's log, and \"web\" has none: write targets.web.log, such as {\"file\": "
      "\"/var/log/web.log\"} or {\"journal\": true}\n";
  CHECK(told(recipe, {{"web", {{"name", "web"}}}}) == none);
  CHECK(told(recipe, {{"*", {{"unit", "*.service"}}}}) == none);
  CHECK(told(recipe, {{"*", {{"unit", "*.service"}, {"log", {{"journal", true}}}}}}).empty());
}

TEST_CASE("parameters without a default are required") {
  const json::object schema = hatchd::config::recipe_parameters(
      json::parse(R"({"params": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}})").as_object(), {});
  CHECK(schema.at("required") == json::array{"a"});
  CHECK(told(R"({"kind": "command", "argv": ["/x"], "params": {"a": {"type": "strin"}}})")
            .starts_with("/params/a/type: "));
}
