#include "catch.hpp"
#include "parse.hpp"
#include "schema/schema.hpp"

using hatchd::schema::check;

namespace {

struct Row {
  const char* schema;
  const char* told;
};

const Row rows[] = {
    {"{}", ""},
    {"{'$schema': 'x', 'title': 't', 'description': 'd', 'type': 'object', 'properties': {'a': {'type': 'string', "
     "'secret': true, 'minLength': 1, 'maxLength': 3, 'pattern': '[a-z]+', 'examples': ['abc']}}, 'required': ['a'],"
     "'additionalProperties': false}",
     ""},
    {"{'type': 'text'}",
     "/type: must be one of 'object', 'array', 'string', 'integer', 'number', 'boolean', 'null', or a list of them"},
    {"{'type': []}", "/type: must hold only 'object', 'array', 'string', 'integer', 'number', 'boolean', 'null'"},
    {"{'minimun': 3}", "/minimun: unknown keyword; did you mean 'minimum'?"},
    {"{'$ref': '#/x'}", "/$ref: unknown keyword"},
    {"{'properties': {'a': 3}}", "/properties/a: must be a schema, which is an object"},
    {"{'properties': []}", "/properties: must be an object of schemas"},
    {"{'properties': {'a': {'items': {'typo': 1}}}}",
     "/properties/a/items/typo: unknown keyword; did you mean 'type'?"},
    {"{'required': 'a'}", "/required: must be a list of names"},
    {"{'required': [1]}", "/required/0: must be a string"},
    {"{'properties': {}, 'required': ['a']}", "/required/0: is not among the properties"},
    {"{'additionalProperties': true}", "/additionalProperties: must be false or a schema"},
    {"{'additionalProperties': {'type': 'string'}}", ""},
    {"{'patternProperties': {'(': {}}}",
     "/patternProperties/(: is not a regular expression that hatchd understands (ECMAScript without back-references)"},
    {"{'pattern': '(a)\\\\1'}",
     "/pattern: is not a regular expression that hatchd understands (ECMAScript without back-references)"},
    {"{'pattern': 3}", "/pattern: must be a string"},
    {"{'minLength': -1}", "/minLength: must be an integer that is not negative"},
    {"{'maxItems': 1.5}", "/maxItems: must be an integer that is not negative"},
    {"{'minimum': '3'}", "/minimum: must be a number"},
    {"{'enum': []}", "/enum: must be a list that is not empty"},
    {"{'oneOf': []}", "/oneOf: must be a list of schemas"},
    {"{'anyOf': [{}, 3]}", "/anyOf/1: must be a schema, which is an object"},
    {"{'format': 'email'}",
     "/format: must be one of 'duration', 'name', 'hatch-id', 'absolute-path', 'uri', 'server-url', 'argument', "
     "'plain-argument', 'path-segment'"},
    {"{'secret': 'yes'}", "/secret: must be true or false"},
    {"{'type': 'integer', 'default': 'x'}", "/default: does not satisfy its own schema: must be an integer"},
    {"{'items': {'type': 'integer'}, 'default': [1, 'x']}",
     "/default/1: does not satisfy its own schema: must be an integer"},
    {"{'maximum': 2, 'examples': [1, 3]}", "/examples/1: does not satisfy its own schema: must be at most 2"},
    {"{'x-effect': 'act', 'x-role': 'admin'}", ""},
    {"{'x-effect': 'harm'}", "/x-effect: must be one of 'observe', 'act', 'disrupt', or an object of them by value"},
    {"{'enum': ['a', 'b'], 'x-effect': {'b': 'disrupt'}}", ""},
    {"{'enum': ['a', 'b'], 'x-effect': {'c': 'disrupt'}}", "/x-effect/c: is not among the values of enum"},
    {"{'x-role': {'c': 'root'}}", "/x-role/c: must be one of 'viewer', 'operator', 'admin'"},
    {"{'typ': 'x', 'minLength': 'y'}",
     "/typ: unknown keyword; did you mean 'type'? | /minLength: must be an integer that is not negative"},
};

}  // namespace

TEST_CASE("a schema outside the subset is refused, place by place") {
  for (const Row& row : rows) {
    CAPTURE(row.schema);
    CHECK(told(check(parsed(row.schema).as_object())) == row.told);
  }
}

TEST_CASE("a schema of great depth ends") {
  boost::json::object schema;
  for (int i = 0; i < 500; ++i) {
    boost::json::object outer;
    outer["items"] = std::move(schema);
    schema = std::move(outer);
  }
  const auto errors = check(schema);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].detail == "is nested too deeply");
}
