#include "client/output.hpp"

#include "catch.hpp"
#include "client/commands.hpp"

using namespace hatchd::client;

TEST_CASE("text loses control characters but keeps its lines") {
  Filter filter{false};
  CHECK(filter.feed("a\x1b[31mb\n\tc") == "a\xEF\xBF\xBD[31mb\n\tc");
}

TEST_CASE("a character that comes in two pieces is whole") {
  const std::string text = "x\xE2\x82\xACy\xF0\x9F\x9A\xAAz";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    Filter filter{false};
    std::string shown = filter.feed(text.substr(0, cut));
    shown += filter.feed(text.substr(cut));
    shown += filter.finish();
    CHECK(shown == text);
  }
}

TEST_CASE("what is cut at the end is replaced, not dropped") {
  Filter filter{false};
  CHECK(filter.feed("a\xE2\x82") == "a");
  CHECK(filter.finish() == "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("raw bytes pass") {
  Filter filter{true};
  CHECK(filter.feed("{\"a\": \"\xE2\x80\x8E\"}") == "{\"a\": \"\xE2\x80\x8E\"}");
}

TEST_CASE("colour touches the labels alone") {
  CHECK(painted("refused (role-missing): no\nremedy: ask\nrest\n") ==
        "\033[31mrefused (role-missing)\033[0m: no\n\033[32mremedy:\033[0m ask\nrest\n");
}

TEST_CASE("exit codes of statuses") {
  CHECK(exit_of(200) == succeeded);
  CHECK(exit_of(202) == succeeded);
  for (const long status : {409, 424, 429, 500, 503, 507}) CHECK(exit_of(status) == failed);
  for (const long status : {400, 404, 405, 413, 415, 421, 422}) CHECK(exit_of(status) == usage);
  for (const long status : {401, 403}) CHECK(exit_of(status) == not_allowed);
}
