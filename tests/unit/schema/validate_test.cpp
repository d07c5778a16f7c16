#include "schema/schema.hpp"

#include <boost/json/serialize.hpp>

#include "catch.hpp"
#include "parse.hpp"

using hatchd::schema::validate;
namespace json = boost::json;

namespace {

struct Row {
  const char* schema;
  const char* value;
  const char* told;  // "" when valid
};

const Row rows[] = {
    // type
    {"{}", "{'anything': [1]}", ""},
    {"{'type': 'string'}", "3", ": must be a string"},
    {"{'type': 'object'}", "[]", ": must be an object"},
    {"{'type': 'boolean'}", "1", ": must be a boolean (true or false)"},
    {"{'type': ['string', 'null']}", "null", ""},
    {"{'type': ['string', 'null']}", "3", ": must be a string or null"},
    {"{'type': ['array', 'integer']}", "'x'", ": must be an array or an integer"},
    {"{'type': 'integer'}", "3", ""},
    {"{'type': 'integer'}", "3.0", ""},
    {"{'type': 'integer'}", "3.5", ": must be an integer"},
    {"{'type': 'integer'}", "1e400", ": must be an integer"},
    {"{'type': 'integer'}", "true", ": must be an integer"},
    {"{'type': 'number'}", "3", ""},
    {"{'type': 'number'}", "1e400", ": is too large a number"},
    {"{'type': 'integer'}", "1e300", ": is too large a number"},
    {"{'type': 'array', 'items': {}}", "[1e400]", "/0: is too large a number"},
    {"{'type': 'null'}", "0", ": must be null"},
    // bounds keep every bit of 64
    {"{'minimum': 1, 'maximum': 250}", "0", ": must be at least 1"},
    {"{'minimum': 1, 'maximum': 250}", "251", ": must be at most 250"},
    {"{'minimum': 1, 'maximum': 250}", "250", ""},
    {"{'maximum': 9223372036854775806}", "9223372036854775807", ": must be at most 9223372036854775806"},
    {"{'maximum': 9223372036854775806}", "9223372036854775806", ""},
    {"{'minimum': 0}", "18446744073709551615", ""},
    {"{'minimum': 0}", "-0.5", ": must be at least 0"},
    {"{'minimum': 5}", "'a'", ""},
    // enum and const
    {"{'enum': ['least', 'all', 'none']}", "'some'", ": must be one of 'least', 'all', 'none'"},
    {"{'enum': [1, 2]}", "1.0", ""},
    {"{'enum': ['only']}", "'x'", ": must be 'only'"},
    {"{'const': 'http'}", "'signal'", ": must be 'http'"},
    {"{'const': 2}", "2.0", ""},
    // strings
    {"{'minLength': 1}", "''", ": must not be empty"},
    {"{'minLength': 2}", "'\xC3\xA4'", ": must have at least 2 characters"},
    {"{'maxLength': 1}", "'\xC3\xA4'", ""},
    {"{'maxLength': 1}", "'ab'", ": must have at most 1 character"},
    {"{'pattern': '[a-z]+'}", "'abc'", ""},
    {"{'pattern': '[a-z]+'}", "'abc1'", ": must match '[a-z]+'"},
    {"{'pattern': 'b'}", "'abc'", ": must match 'b'"},
    {"{'pattern': '^b$'}", "'b'", ""},
    {"{'pattern': '(a|b'}", "'b'", ": must match '(a|b'"},
    // formats
    {"{'format': 'duration'}", "'30s'", ""},
    {"{'format': 'duration'}", "'30'", ": must be a duration such as '30s', '250ms' or '2h'"},
    {"{'format': 'name'}", "'web-1.a_b'", ""},
    {"{'format': 'name'}", "'a/b'",
     ": must be a name: letters, digits, '.', '_' and '-', at most 64, a letter or digit first"},
    {"{'format': 'name'}", "'.hidden'",
     ": must be a name: letters, digits, '.', '_' and '-', at most 64, a letter or digit first"},
    {"{'format': 'hatch-id'}", "'app.raise-error'", ""},
    {"{'format': 'hatch-id'}", "'stack.*'",
     ": must be a hatch id such as 'stack.dump': two lower-case words with a dot between"},
    {"{'format': 'hatch-id'}", "'a.b.c'",
     ": must be a hatch id such as 'stack.dump': two lower-case words with a dot between"},
    {"{'format': 'absolute-path'}", "'/run/x'", ""},
    {"{'format': 'absolute-path'}", "'run/x'", ": must be an absolute path"},
    {"{'format': 'absolute-path'}", "'/a\\u0000b'", ": must be an absolute path"},
    {"{'format': 'uri'}", "'smtp://127.0.0.1:25'", ""},
    {"{'format': 'uri'}", "'127.0.0.1:25'", ": must be a URI such as 'smtp://127.0.0.1:25'"},
    {"{'format': 'uri'}", "'http://a b'", ": must be a URI such as 'smtp://127.0.0.1:25'"},
    {"{'format': 'server-url'}", "'smtp://h'", ""},
    {"{'format': 'server-url'}", "'smtp://h:1'", ""},
    {"{'format': 'server-url'}", "'redis://h:/0'", ""},
    {"{'format': 'server-url'}", "'amqp://u:p@h:65535/v@x:0'", ""},
    {"{'format': 'server-url'}", "'redis+socket:///run/r:0'", ""},
    {"{'format': 'server-url'}", "'sentinel://a:26379;sentinel://b;sentinel://[::1]:9'", ""},
    {"{'format': 'server-url'}", "'smtp://u:p;x@h:25'", ""},
    {"{'format': 'server-url'}", "'smtp://u:0/x@h:25'", ""},
    {"{'format': 'server-url'}", "'redis://[::1]/0'", ""},
    {"{'format': 'argument'}", "'-x y'", ""},
    {"{'format': 'argument'}", "'a\\u0000b'",
     ": must be fit for an argument of a program: less than 128 KiB without a NUL byte"},
    {"{'format': 'plain-argument'}", "'x -y'", ""},
    {"{'format': 'plain-argument'}", "'-x'",
     ": must be fit for an argument of a program: less than 128 KiB without a NUL byte, and not beginning with '-', "
     "which would make it an option"},
    {"{'format': 'path-segment'}", "'...'", ""},
    {"{'format': 'path-segment'}", "'..'", ": must be a segment of a path: not empty, '.' or '..'"},
    {"{'format': 'path-segment'}", "''", ": must be a segment of a path: not empty, '.' or '..'"},
    // arrays
    {"{'items': {'type': 'integer'}}", "[1, 'a', 2, 'b']", "/1: must be an integer | /3: must be an integer"},
    {"{'minItems': 1}", "[]", ": must have at least 1 entry"},
    {"{'maxItems': 2}", "[1, 2, 3]", ": must have at most 2 entries"},
    // objects
    {"{'required': ['to', 'msg']}", "{}", "/to: is required | /msg: is required"},
    {"{'properties': {'a': {}}}", "{'b': 1}", ""},
    {"{'properties': {'pause': {}, 'depth': {}}, 'additionalProperties': false}", "{'puase': 1}",
     "/puase: unknown; did you mean 'pause'? There are: 'pause', 'depth'"},
    {"{'properties': {'pause': {}}, 'additionalProperties': false}", "{'colour': 1}",
     "/colour: unknown; there are: 'pause'"},
    {"{'additionalProperties': false}", "{'a': 1}", "/a: unknown; there are none"},
    {"{'patternProperties': {'[a-z]+': {'type': 'integer'}}, 'additionalProperties': false}", "{'ab': 'x', 'A': 1}",
     "/ab: must be an integer | /A: unknown; there are names that match '[a-z]+'"},
    {"{'additionalProperties': {'type': 'integer'}}", "{'a': 1, 'b': 'x'}", "/b: must be an integer"},
    {"{'properties': {'a': {'properties': {'b': {'type': 'string'}}}}}", "{'a': {'b': 1}}", "/a/b: must be a string"},
    {"{'additionalProperties': {'type': 'integer'}}", "{'a/b~c': 'x'}", "/a~1b~0c: must be an integer"},
    {"{'additionalProperties': {'type': 'integer'}}", "{'': 'x'}", "/: must be an integer"},
    // oneOf and anyOf
    {"{'oneOf': [{'required': ['pid']}, {'required': ['name']}]}", "{}", ": needs one of 'pid', 'name'"},
    {"{'oneOf': [{'required': ['pid']}, {'required': ['name']}]}", "{'pid': 1, 'name': 2}",
     ": may have only one of 'pid', 'name'"},
    {"{'oneOf': [{'required': ['pid']}, {'required': ['name']}]}", "{'name': 2}", ""},
    {"{'anyOf': [{'required': ['pid']}, {'required': ['name']}]}", "{'pid': 1, 'name': 2}", ""},
    {"{'anyOf': [{'type': 'string'}, {'type': 'object', 'required': ['file']}]}", "{}", "/file: is required"},
    {"{'anyOf': [{'type': 'string', 'title': 'text'}, {'type': 'null', 'title': 'nothing'}]}", "3",
     ": must be one of 'text', 'nothing'"},
    {"{'anyOf': [{'type': 'string'}, {'type': 'null'}]}", "3", ": fits none of the allowed forms"},
    {"{'oneOf': [{'minimum': 1}, {'minimum': 2}]}", "3", ": fits more than one of the allowed forms"},
};

}  // namespace

TEST_CASE("each keyword accepts and refuses in its own words") {
  for (const Row& row : rows) {
    CAPTURE(row.schema, row.value);
    json::value value = parsed(row.value);
    CHECK(told(validate(parsed(row.schema).as_object(), value)) == row.told);
  }
}

TEST_CASE("defaults are filled at every depth, and validated") {
  const auto schema = parsed(
      "{'properties': {'runs': {'default': {}, 'properties': {'count': {'type': 'integer', 'default': 200}}},"
      "'absent': {'properties': {'x': {'default': 1}}}, 'given': {'default': 5}}}");
  json::value value = parsed("{'given': 6}");
  CHECK(validate(schema.as_object(), value).empty());
  CHECK(json::serialize(value) == json::serialize(parsed("{'given':6,'runs':{'count':200}}")));
}

TEST_CASE("the branch that fits fills its defaults, the others do not") {
  const auto schema = parsed(
      "{'oneOf': [{'required': ['a'], 'properties': {'x': {'default': 1}}},"
      "{'required': ['b'], 'properties': {'y': {'default': 2}}}]}");
  json::value value = parsed("{'b': 0}");
  CHECK(validate(schema.as_object(), value).empty());
  CHECK(value == parsed("{'b': 0, 'y': 2}"));
}

TEST_CASE("a whole double becomes an integer only where the schema asks for one") {
  json::value value = parsed("{'i': 3.0, 'n': 3.0}");
  CHECK(validate(parsed("{'properties': {'i': {'type': 'integer'}, 'n': {'type': 'number'}}}").as_object(), value)
            .empty());
  CHECK(value.at("i").is_int64());
  CHECK(value.at("n").is_double());
}

TEST_CASE("failures are counted beyond a hundred") {
  json::array many;
  for (int i = 0; i < 250; ++i) many.emplace_back("x");
  json::value value = many;
  const auto errors = validate(parsed("{'items': {'type': 'integer'}}").as_object(), value);
  REQUIRE(errors.size() == 101);
  CHECK(errors.back().detail == "and 150 more");
}

TEST_CASE("depth is bounded") {
  // additionalProperties inside itself cannot be written, so the schema is as deep as the value.
  json::object schema{{"type", "integer"}};
  json::value value = "not reached";
  for (int i = 0; i < 40; ++i) {
    json::object outer;
    outer["items"] = std::move(schema);
    schema = std::move(outer);
    json::array list;
    list.push_back(std::move(value));
    value = std::move(list);
  }
  const auto errors = validate(schema, value);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].detail == "is nested too deeply");
}

TEST_CASE("a pattern neither hangs nor overflows on hostile text") {
  const auto schema = parsed("{'pattern': '(a+)+b'}").as_object();
  json::value evil(std::string(40, 'a'));
  CHECK(told(validate(schema, evil)) == ": must match '(a+)+b'");
  json::value longest(std::string(4096, 'a') + "b");
  CHECK(told(validate(schema, longest)) == ": must have at most 4096 bytes, because it is matched with a pattern");
  json::value fits(std::string(4095, 'a') + "b");
  CHECK(validate(schema, fits).empty());
}

TEST_CASE("a name that is far from every declared one earns no suggestion, a very long one is cut") {
  const auto schema = parsed("{'properties': {'pid': {}}, 'additionalProperties': false}").as_object();
  json::value value = json::object{{std::string(5000, 'p'), 1}};
  const auto errors = validate(schema, value);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].pointer.size() < 250);
  CHECK(errors[0].detail == "unknown; there are: \"pid\"");
  json::value close = json::object{{"pdi", 1}};
  CHECK(validate(schema, close)[0].detail == "unknown; did you mean \"pid\"? There are: \"pid\"");
}

TEST_CASE("an address whose port is none is refused with what would be right") {
  for (const char* url : {"smtp://h:0", "smtp://h:65536", "smtp://h:99999999999999", "smtp://u:p@h:x",
                          "sentinel://a;sentinel://b:70000", "redis://[::1]:0/0", "amqp://h:5672 /", "h:25"}) {
    CAPTURE(url);
    const json::object schema{{"format", "server-url"}};
    json::value value(url);
    const auto errors = hatchd::schema::validate(schema, value);
    REQUIRE(errors.size() == 1);
    CHECK(errors[0].detail.starts_with("must have a port from 1 to 65535 or none behind the host"));
  }
}
