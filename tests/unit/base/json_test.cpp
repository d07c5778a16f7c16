#include "base/json.hpp"

#include <boost/json.hpp>

#include "catch.hpp"

using namespace hatchd;
namespace json = boost::json;

TEST_CASE("a number that no double holds is no number") {
  for (const char* text : {"1e999", "-1e999", "[{\"a\": [1e400]}]"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_json(text));
  }
  CHECK(parse_json("1e308"));
  CHECK(parse_json("1e-999"));  // nothing, as near as a double comes
}

TEST_CASE("absent and wrong members read as their fallback") {
  const json::object object{{"text", "a"}, {"number", 3}, {"flag", true}, {"list", json::array{"x", 1, "y"}}};
  CHECK(text_of(object, "text") == "a");
  CHECK(text_of(object, "number", "none") == "none");
  CHECK(number_of(object, "number") == 3);
  CHECK(number_of(object, "text", -1) == -1);
  CHECK(flag_of(object, "flag"));
  CHECK_FALSE(flag_of(object, "number"));
  CHECK(texts_of(object, "list") == std::vector<std::string>{"x", "y"});
  CHECK(object_of(object, "text") == nullptr);
}

TEST_CASE("invalid JSON is refused with its place") {
  const auto bad = parse_json("{\n  \"a\": tru\n}");
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code == "malformed");
  CHECK(bad.error().detail.find("line 2, column") != std::string::npos);
  CHECK_FALSE(parse_json("{} {}"));
  CHECK_FALSE(parse_json("{\"a\":"));
  CHECK_FALSE(parse_json(""));
  CHECK_FALSE(parse_json(std::string(100, '[') + std::string(100, ']')));
  CHECK(parse_json(" {} \n"));
}

TEST_CASE("pretty printing from a tree and from text gives the same") {
  const std::string compact =
      R"({"id":"x","params":{},"list":[1,2,3],"none":[],"steps":[{"name":"a","ms":1.25},{"name":"b","ms":2}],"deep":[[1,2],[3]],"text":"a\"b\u001b[0m","big":18446744073709551615,"null":null})";
  const std::string expected = R"({
  "id": "x",
  "params": {},
  "list": [1, 2, 3],
  "none": [],
  "steps": [
    {
      "name": "a",
      "ms": 1.25
    },
    {
      "name": "b",
      "ms": 2
    }
  ],
  "deep": [
    [1, 2],
    [3]
  ],
  "text": "a\"b\u001b[0m",
  "big": 18446744073709551615,
  "null": null
})";
  CHECK(*pretty_text(compact, 0, "run-failed") == expected);
  json::value tree = json::parse(compact);
  CHECK(json::parse(pretty(tree)) == tree);
}

TEST_CASE("long arrays of scalars are written a line an element, from the first one on") {
  std::string compact = "[";
  for (int i = 0; i < 60; ++i) compact += (i ? "," : "") + std::to_string(1000 + i);
  const std::string text = *pretty_text(compact + "]", 1, "x");
  CHECK(text.substr(0, 24) == "[\n    1000,\n    1001,\n  ");
  CHECK(text.substr(text.size() - 13) == "\n    1059\n  ]");
  CHECK(json::parse(text) == json::parse(compact + "]"));
}

TEST_CASE("pretty_text refuses what is not JSON") {
  CHECK_FALSE(pretty_text("{\"a\":1", 0, "x"));
  CHECK_FALSE(pretty_text("{}garbage", 0, "x"));
  CHECK_FALSE(pretty_text(std::string(1000, '['), 0, "x"));
}

TEST_CASE("a text that would grow by its depth alone is kept on one line") {
  std::string compact = std::string(30, '[');
  for (int i = 0; i < 100'000; ++i) compact += i ? ",[]" : "[]";
  compact += std::string(30, ']');
  const auto text = pretty_text(compact, 1, "x");
  REQUIRE(text);
  CHECK(text->size() <= 4 * compact.size() + 1024 * 1024);
  CHECK(text->find('\n') == std::string::npos);
  CHECK(json::parse(*text) == json::parse(compact));
  CHECK_FALSE(pretty_text(compact + "]", 1, "x"));
  const std::string shallow = "[" + compact.substr(30, compact.size() - 60) + "]";
  CHECK(pretty_text(shallow, 0, "x")->substr(0, 5) == "[\n  [");
}

TEST_CASE("what could turn or hide text on a terminal is escaped, and stays the same text") {
  const std::string text = "caf\u00e9 \u202egpj.exe \u2066x \x7F \u009b1m \u2028 \u2026 \U0001F600";
  const std::string shown = "\"caf\u00e9 \\u202egpj.exe \\u2066x \\u007f \\u009b1m \\u2028 \u2026 \U0001F600\"";
  CHECK(pretty(json::value(text)) == shown);
  CHECK(pretty_text(json::serialize(json::value(text)), 0, "x").value() == shown);
  CHECK(parse_json(shown)->get_string() == text);
  CHECK(pretty(json::object{{text, 1}}).find(shown) != std::string::npos);
}

TEST_CASE("each byte of ASCII is written as JSON has it, wherever in a text it stands") {
  for (int code = 1; code < 0x80; ++code)
    for (std::size_t at = 0; at < 17; ++at) {
      std::string text(17, 'a');
      text[at] = static_cast<char>(code);
      const std::string shown = pretty(json::value(text));
      const bool escaped = code < 0x20 || code == '"' || code == '\\' || code == 0x7F;
      CAPTURE(code, at);
      CHECK((shown != '"' + text + '"') == escaped);
      CHECK(parse_json(shown)->get_string() == text);
    }
}
