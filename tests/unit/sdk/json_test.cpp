// What the SDK writes is valid JSON and valid UTF-8, whatever it was given.
#include "hatch/json.hpp"

#include <limits>

#include "catch.hpp"

using namespace std::string_literals;

namespace {

std::string quoted(std::string_view text) {
  std::string out;
  hatch::append_quoted(out, text);
  return out;
}
std::string unquoted(std::string_view json) {
  std::string out;
  std::size_t at = 0;
  return hatch::read_quoted(json, at, out) && at == json.size() ? out : "(refused)";
}

const std::string bad = "\xEF\xBF\xBD";

}  // namespace

TEST_CASE("strings are escaped") {
  CHECK(quoted("a\"b\\c\n\r\t") == R"("a\"b\\c\n\r\t")");
  CHECK(quoted("\0\x01\x1f\x7f"s) == R"("\u0000\u0001\u001f\u007f")");
  CHECK(quoted("\xC2\x9B") == R"("\u009b")");  // CSI, a control of one character on some terminals
  CHECK(quoted("h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80") == "\"h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\"");
}

TEST_CASE("bytes that are not UTF-8 become U+FFFD, each for itself") {
  CHECK(quoted("\xFF") == '"' + bad + '"');
  CHECK(quoted("a\xC3") == "\"a" + bad + '"');                             // cut off
  CHECK(quoted("\xC0\xAF") == '"' + bad + bad + '"');                      // overlong
  CHECK(quoted("\xED\xA0\x80") == '"' + bad + bad + bad + '"');            // surrogate
  CHECK(quoted("\xF4\x90\x80\x80") == '"' + bad + bad + bad + bad + '"');  // beyond U+10FFFF
}

TEST_CASE("printable text moves no cursor and hides nothing") {
  CHECK(hatch::printable("a\x1b[2Jb\n") == "a" + bad + "[2Jb" + bad);
  CHECK(hatch::printable("a\n\tb\r", true) == "a\n\tb" + bad);
  CHECK(hatch::printable("x\xE2\x80\xAEy") == "x" + bad + "y");  // right-to-left override
  CHECK(hatch::printable("caf\xC3\xA9") == "caf\xC3\xA9");
}

TEST_CASE("numbers") {
  hatch::Array all;
  all.add(0)
      .add(-7)
      .add(std::numeric_limits<std::uint64_t>::max())
      .add(0.5)
      .add(std::numeric_limits<double>::infinity());
  all.add(std::numeric_limits<double>::quiet_NaN())
      .add(true)
      .add(nullptr)
      .add(std::optional<int>{})
      .add(std::optional<int>{3});
  CHECK(all.json() == "[0,-7,18446744073709551615,0.5,null,null,true,null,null,3]");
  CHECK(hatch::rounded_ms(1.23456) == 1.235);
}

TEST_CASE("objects nest") {
  hatch::Object inner, outer;
  inner.add("k", "v");
  outer.add("list", hatch::Array{}.add(inner))
      .add_if("absent", std::optional<int>{})
      .add_if("there", std::optional<int>{1});
  CHECK(outer.json() == R"({"list":[{"k":"v"}],"there":1})");
  CHECK(hatch::Object{}.json() == "{}");
  CHECK(hatch::Array{}.json() == "[]");
}

TEST_CASE("reading a string back") {
  CHECK(unquoted(R"("a\"\\\/\b\f\n\r\t")") == "a\"\\/\b\f\n\r\t");
  CHECK(unquoted(R"("\u00e9\u20AC\ud83d\ude00")") == "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(unquoted(R"("\ud83d!")") == bad + "!");
  CHECK(unquoted(R"("\ud83d\u0041")") == bad + "A");
  CHECK(unquoted(R"("\ude00")") == bad);
  for (const char* broken : {"", "\"", "\"abc", "abc", "\"\\", "\"\\u12\"", "\"\\uzzzz\"", "\"\\ud83d\\u1\""}) {
    CAPTURE(broken);
    CHECK(unquoted(broken) == "(refused)");
  }
}
