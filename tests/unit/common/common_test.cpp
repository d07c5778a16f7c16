#include "catch.hpp"

#include "common/entry.hpp"
#include "common/follower.hpp"
#include "common/http.hpp"
#include "common/news.hpp"
#include "common/url.hpp"
#include "hatch/hatch.hpp"

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

TEST_CASE("an address is shown without what may be secret") {
  CHECK(common::shown_url("https://user:pass@h:81/a/@b?key=secret@x#f") == "https://h:81/a/@b");
  CHECK(common::shown_url("https://h?key=secret") == "https://h");
  CHECK(common::shown_url("https://a@b@h/c") == "https://h/c");
  CHECK(common::shown_url("user:pass@h/x@y") == "h/x@y");
  CHECK(common::shown_url("").empty());
  // Nobody listens there, at port 0 nobody can.
  for (const char* url :
       {"http://user:pass@127.0.0.1:0/find?key=secret", "http://u:secret@127.0.0.1:x/?secret", "secret"})
    try {
      (void)common::send({"GET", url, "", "", {}}, std::chrono::seconds(20), [] { return false; });
      FAIL("was answered");
    } catch (const hatch::Failure& failure) {
      const std::string said = failure.what();
      CAPTURE(said);
      CHECK((url == std::string("secret") || said.find("secret") == said.npos));
      CHECK((said.find("pass@") == said.npos && said.starts_with("GET ")));
    }
}

TEST_CASE("what is new of an answer is told by what tells entries apart") {
  using common::news;
  CHECK(news("", "a\nb\n") == "a\nb\n");
  CHECK(news("a\nb\n", "a\nb\n").empty());
  CHECK(news("a\nb\n", "").empty());
  // As many as before, since the server answers the newest two: first or last, the id in front of the message or behind it.
  CHECK(news("N\n2\nN\n1\n", "N\n3\nN\n2\n") == "N\n3\n");
  CHECK(news("N\n1\nN\n2\n", "N\n2\nN\n3\n") == "N\n3\n");
  CHECK(news("2\nN\n1\nN\n", "3\nN\n2\nN\n") == "3\nN\n");
  CHECK(news("1\nN\n2\nN\n", "2\nN\n3\nN\n").find("N\n") != std::string::npos);
  // All are other ones.
  CHECK(news("1\nN\n", "2\nN\n") == "2\n");  // not known: the first may have got a new number
  CHECK(news("at 1: N\nat 2: N\n", "at 3: N\nat 4: N\n") == "at 3: N\nat 4: N\n");
  // Old ones that only fell out, were moved or counted up.
  CHECK(news("N\n3\nN\n2\nN\n1\n", "N\n3\nN\n2\n").empty());
  CHECK(news("took 5\nN1\nN2\nN3\n", "took 7\nN3\nN1\nN2\n") == "took 7\n");
  CHECK(news("N\nseen 4 times\n", "N\nseen 5 times\n") == "seen 5 times\n");
  // Nothing tells them apart: their number counts.
  CHECK(news("N\nN\n", "N\nN\nN\n") == "N\n");
  CHECK(news("N\nN\n", "N\nN\n").empty());
  // A large answer takes no time that grows with its square.
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += (i % 3 ? "N\n" : std::to_string(i) + "\n");
  CHECK(news(many, "new N\n" + many) == "new N\n");
}
