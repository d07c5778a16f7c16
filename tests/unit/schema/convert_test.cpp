#include "catch.hpp"
#include "parse.hpp"
#include "schema/schema.hpp"

namespace json = boost::json;

namespace {

struct Row {
  const char* property;  // schema of the parameter
  const char* text;
  const char* value;  // JSON, or "!" and the failure
};

const Row rows[] = {
    {"{'type': 'integer'}", "3", "3"},
    {"{'type': 'integer'}", "-9223372036854775808", "-9223372036854775808"},
    {"{'type': 'integer'}", "18446744073709551615", "18446744073709551615"},
    {"{'type': 'integer'}", "+3", "3"},
    {"{'type': 'integer'}", "3.0", "3"},
    {"{'type': 'integer'}", "3.5", "!must be an integer"},
    {"{'type': 'integer'}", "99999999999999999999", "!must be an integer"},
    {"{'type': 'integer'}", "3 ", "!must be an integer"},
    {"{'type': 'integer'}", "", "!must be an integer"},
    {"{'type': 'integer'}", "0x10", "!must be an integer"},
    {"{'type': 'number'}", "2.5", "2.5"},
    {"{'type': 'number'}", "9007199254740993", "9007199254740993"},
    {"{'type': 'number'}", "nan", "!must be a number"},
    {"{'type': 'number'}", "inf", "!must be a number"},
    {"{'type': 'boolean'}", "true", "true"},
    {"{'type': 'boolean'}", "on", "true"},
    {"{'type': 'boolean'}", "1", "true"},
    {"{'type': 'boolean'}", "yes", "true"},
    {"{'type': 'boolean'}", "off", "false"},
    {"{'type': 'boolean'}", "0", "false"},
    {"{'type': 'boolean'}", "maybe", "!must be true or false"},
    {"{'type': 'string'}", "3", "'3'"},
    {"{'type': 'string'}", "", "''"},
    {"{'type': 'array', 'items': {'type': 'string'}}", "a,b", "['a', 'b']"},
    {"{'type': 'array', 'items': {'type': 'string'}}", "a,", "['a', '']"},
    {"{'type': 'array', 'items': {'type': 'string'}}", "", "[]"},
    {"{'type': 'array', 'items': {'type': 'integer'}}", "1,2", "[1, 2]"},
    {"{'type': 'array', 'items': {'type': 'integer'}}", "1,x", "[1, 'x']"},
    {"{'type': 'array'}", "[1, {}]", "[1, {}]"},
    {"{'type': 'object'}", "{}", "{}"},
    {"{'type': 'object'}", "a", "!must be a JSON object"},
    {"{'type': 'null'}", "null", "null"},
    // several types: the narrowest that fits
    {"{'type': ['string', 'integer']}", "3", "3"},
    {"{'type': ['string', 'integer']}", "all", "'all'"},
    {"{'type': ['string', 'boolean']}", "on", "'on'"},
    {"{'type': ['string', 'boolean']}", "true", "true"},
    {"{'type': ['string', 'null']}", "", "null"},
    {"{'type': ['string', 'array']}", "a,b", "'a,b'"},
    {"{'type': ['integer', 'boolean']}", "1", "1"},
    {"{'anyOf': [{'type': 'integer'}, {'enum': ['all']}]}", "7", "7"},
    {"{'type': ['integer', 'boolean']}", "x", "!must be an integer or true or false"},
    // no type at all
    {"{}", "3", "'3'"},
    {"{'enum': [1, 'one']}", "1", "1"},
    {"{'const': true}", "true", "true"},
};

}  // namespace

TEST_CASE("text becomes what the schema says") {
  for (const Row& row : rows) {
    CAPTURE(row.property, row.text);
    const json::object schema{{"properties", json::object{{"p", parsed(row.property)}}}};
    const auto value = hatchd::schema::convert(schema, "p", row.text);
    if (row.value[0] == '!') {
      REQUIRE(!value);
      CHECK(value.error().code == "params-invalid");
      CHECK(told(value.error().errors) == "/p: " + std::string(row.value + 1));
    } else {
      REQUIRE(value);
      CHECK(*value == parsed(row.value));
    }
  }
}

TEST_CASE("an unknown parameter stays text") {
  const auto value = hatchd::schema::convert(parsed("{'properties': {}}").as_object(), "nope", "3");
  REQUIRE(value);
  CHECK(*value == "3");
}
