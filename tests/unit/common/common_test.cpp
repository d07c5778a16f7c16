#include "catch.hpp"

#include "common/entry.hpp"
#include "common/follower.hpp"
#include "common/url.hpp"

TEST_CASE("an entry of a log is its traceback and what introduces it") {
  const std::string log =
      "INFO before\nERROR Internal Server Error: /x\nTraceback (most recent call last):\n  File \"a.py\", line 1, in "
      "f\n"
      "    g()\nHatchError: heard? [hatchd-1]\nINFO after\n";
  CHECK(common::entry_around(log, "hatchd-1") ==
        "ERROR Internal Server Error: /x\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n"
        "HatchError: heard? [hatchd-1]");
  CHECK(common::entry_around("one\nError: m-2\n    at f (a.js:1)\n    at g\ntwo\n", "m-2") ==
        "Error: m-2\n    at f (a.js:1)\n    at g");
  CHECK(common::entry_around("m-3", "m-3") == "m-3");
  CHECK(common::entry_around("\n\nm-4\n", "m-4") == "m-4");
  CHECK(common::entry_around("nothing", "m-5").empty());
  // A line that never ends, and indentation that never does, stay within a bound.
  CHECK(common::entry_around(std::string(1'000'000, 'x') + "m-6" + std::string(1'000'000, 'x'), "m-6").size() <=
        16 * 1024);
  std::string indented = "m-7\n";
  for (int i = 0; i < 100'000; ++i) indented += "  x\n";
  CHECK(common::entry_around(indented, "m-7").size() <= 17 * 1024);
}

TEST_CASE("the unit of a process is the outermost of its cgroup") {
  CHECK(common::journal_match("0::/system.slice/web.service\n") == "_SYSTEMD_UNIT=web.service");
  CHECK(common::journal_match("0::/system.slice/web.service/inner.service/x\n") == "_SYSTEMD_UNIT=web.service");
  CHECK(common::journal_match("12:pids:/a\n1:name=systemd:/system.slice/app@1.service\n0::/\n") ==
        "_SYSTEMD_UNIT=app@1.service");
  CHECK(common::journal_match("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service\n") ==
        "_SYSTEMD_USER_UNIT=shop.service");
  CHECK(common::journal_match("0::/user.slice/user-1000.slice/session-3.scope\n") == "_SYSTEMD_UNIT=session-3.scope");
  for (const char* none : {"", "0::/\n", "0::/docker/abc\n", "nonsense", ":::::", "0:"})
    CHECK(common::journal_match(none).empty());
}

TEST_CASE("what is filled into an address stays one segment or one value") {
  const auto fill = [](std::string_view url, const std::string& value) {
    return common::fill_url(
        url, [&](std::string_view text) { return text == "{mark}" ? std::optional(value) : std::nullopt; });
  };
  CHECK(fill("http://h/{mark}/x?q={mark}&{mark}=1", "a/b?c&d\r\n") ==
        "http://h/a%2Fb%3Fc%26d%0D%0A/x?q=a%2Fb%3Fc%26d%0D%0A&{mark}=1");
  CHECK(fill("http://h?{mark}", "x") == "http://h?{mark}");
  CHECK(fill("http://{mark}/", "x") == "http://{mark}/");
  CHECK_THROWS(fill("http://h/{mark}", ".."));
  CHECK_THROWS(fill("http://h/{mark}", ""));
  CHECK(fill("", "x").empty());
}
