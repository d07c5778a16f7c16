#include "catch.hpp"
#include "parse.hpp"
#include "schema/schema.hpp"

namespace json = boost::json;
using namespace hatchd::schema;

namespace {

struct Row {
  const char* property;
  const char* params;
  const char* base;
  const char* effect;
};

const Row rows[] = {
    {"{}", "{'p': 1}", "act", "act"},
    // a word: whenever the value is not the default
    {"{'x-effect': 'act', 'default': false}", "{}", "observe", "observe"},
    {"{'x-effect': 'act', 'default': false}", "{'p': false}", "observe", "observe"},
    {"{'x-effect': 'act', 'default': false}", "{'p': true}", "observe", "act"},
    {"{'x-effect': 'act', 'default': 1}", "{'p': 1.0}", "observe", "observe"},
    {"{'x-effect': 'act'}", "{'p': null}", "observe", "act"},
    {"{'x-effect': 'observe'}", "{'p': 1}", "disrupt", "disrupt"},
    // by value
    {"{'x-effect': {'inspector': 'act'}}", "{'p': 'inspector'}", "observe", "act"},
    {"{'x-effect': {'inspector': 'act'}}", "{'p': 'other'}", "observe", "observe"},
    {"{'x-effect': {'true': 'disrupt'}}", "{'p': true}", "act", "disrupt"},
    {"{'x-effect': {'9': 'disrupt'}}", "{'p': 9}", "act", "disrupt"},
    {"{'x-effect': {'9': 'disrupt'}}", "{'p': 9.0}", "act", "disrupt"},
    {"{'x-effect': {'all': 'act'}}", "{'p': ['some', 'all']}", "observe", "act"},
    {"{'default': 'all', 'x-effect': {'all': 'act'}}", "{'p': 'all'}", "observe", "act"},
    // below
    {"{'properties': {'q': {'x-effect': 'disrupt'}}}", "{'p': {'q': 1}}", "observe", "disrupt"},
    {"{'items': {'x-effect': {'KILL': 'disrupt'}}}", "{'p': ['HUP', 'KILL']}", "observe", "disrupt"},
    {"{'anyOf': [{'type': 'string'}, {'type': 'integer', 'x-effect': 'act'}]}", "{'p': 3}", "observe", "act"},
};

}  // namespace

TEST_CASE("parameters and values raise the effect, never lower it") {
  for (const Row& row : rows) {
    CAPTURE(row.property, row.params, row.base);
    const json::object schema{{"properties", json::object{{"p", parsed(row.property)}}}};
    Effect base{};
    REQUIRE(parse_effect(row.base, base));
    CHECK(to_string(effect_of(schema, parsed(row.params).as_object(), base)) == row.effect);
  }
}

TEST_CASE("the highest of several counts, for roles too") {
  const auto schema = parsed(
      "{'properties': {'a': {'x-effect': 'act', 'x-role': 'operator'}, 'b': {'x-effect': {'2': 'disrupt'}, 'x-role': "
      "{'2': "
      "'admin', '1': 'viewer'}}}}");
  const auto effect = [&](const char* p) {
    return effect_of(schema.as_object(), parsed(p).as_object(), Effect::observe);
  };
  const auto role = [&](const char* p) { return role_of(schema.as_object(), parsed(p).as_object()); };
  CHECK(effect("{'a': 1, 'b': 2}") == Effect::disrupt);
  CHECK(effect("{'a': 1, 'b': 1}") == Effect::act);
  CHECK(role("{}") == "");
  CHECK(role("{'b': 1}") == "viewer");
  CHECK(role("{'a': 1, 'b': 1}") == "operator");
  CHECK(role("{'a': 1, 'b': 2}") == "admin");
}

TEST_CASE("effects have names, and nothing else is one") {
  Effect effect = Effect::act;
  for (const char* name : {"observe", "act", "disrupt"}) {
    REQUIRE(parse_effect(name, effect));
    CHECK(to_string(effect) == name);
  }
  CHECK_FALSE(parse_effect("Observe", effect));
  CHECK_FALSE(parse_effect("", effect));
}

TEST_CASE("secrets are masked wherever the schema marks them") {
  const auto schema = parsed(
      "{'properties': {'user': {}, 'password': {'secret': true}, 'keys': {'items': {'secret': true}},"
      "'login': {'properties': {'token': {'secret': true}}}, 'unset': {'secret': true},"
      "'either': {'anyOf': [{'type': 'integer'}, {'type': 'string', 'secret': true}]}},"
      "'patternProperties': {'.*_dsn': {'secret': true}}, 'additionalProperties': {'properties': {'p': {'secret': "
      "true}}}}");
  const auto value = parsed(
      "{'user': 'u', 'password': 'p', 'keys': ['a', 'b'], 'login': {'token': {'deep': 1}, 'name': 'n'}, 'unset': null,"
      "'either': 'x', 'app_dsn': 'd', 'free': {'p': 1, 'q': 2}}");
  CHECK(
      mask(schema.as_object(), value) ==
      parsed(
          "{'user': 'u', 'password': '******', 'keys': ['******', '******'], 'login': {'token': '******', 'name': 'n'},"
          "'unset': null, 'either': '******', 'app_dsn': '******', 'free': {'p': '******', 'q': 2}}"));
}
