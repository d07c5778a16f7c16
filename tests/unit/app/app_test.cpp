// What comes from the app is hostile: answers, descriptions, environments, logs.
#include "app/exchange.hpp"
#include "app/members.hpp"
#include "app/settings.hpp"
#include "app/sockets.hpp"
#include "catch.hpp"

using namespace std::string_literals;

TEST_CASE("HATCH_DIR is read from the environment only as an absolute path") {
  CHECK(app::hatch_dir("A=1\0HATCH_DIR=/run/web\0HATCH_DIR=/second\0"s) == "/run/web");
  CHECK(app::hatch_dir("XHATCH_DIR=/run/web\0"s).empty());
  CHECK(app::hatch_dir("HATCH_DIR=run/web"s).empty());
  CHECK(app::hatch_dir("HATCH_DIR=/" + std::string(5000, 'x')).empty());
}

TEST_CASE("the pid is the one that the process itself knows") {
  CHECK(app::inner_pid("Pid:\t40\nNSpid:\t40\t7\t1\nVmPeak:\t1\n", 40) == 1);
  CHECK(app::inner_pid("Pid:\t40\nNSpid:\t40\n", 40) == 40);
  CHECK(app::inner_pid("Pid:\t40\n", 40) == 40);
  CHECK(app::inner_pid("\nNSpid:\t40\tx\n", 40) == 40);
}

TEST_CASE("answers are taken apart, whole or not at all") {
  app::Response response;
  REQUIRE(app::parse_response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest", response));
  CHECK(response.status == 200);
  CHECK(response.body == "{}");
  REQUIRE(app::parse_response("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 -\r\n\r\nto the end", response));
  CHECK(response.status == 404);
  CHECK(response.body == "to the end");
  REQUIRE(app::parse_response("HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\n\r\n2;x=y\r\n{}\r\n1\r\n \r\n0\r\n\r\n",
                              response));
  CHECK(response.body == "{} ");
  for (const char* bad :
       {"", "HTTP/1.1", "HTTP/2 200\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", "HTTP/1.1 100 Continue\r\n\r\n"})
    CHECK_FALSE(app::parse_response(bad, response));
}

TEST_CASE("a description is read with suspicion") {
  const auto members = app::read_members(R"({"protocol": 1, "hatches": [
    {"name": "a-1", "title": "two\nlines \u001b[2J", "effect": "observe", "parameters": {"type": "object"}, "timeout_ms": 5},
    {"name": "a-1", "title": "again"}, {"name": "../x"}, {"name": "UP"}, {"name": "-a"}, {"name": "a--b"}, 3, null, {},
    {"name": "silent"}, {"name": "liar", "effect": "harmless", "timeout_ms": -1}]})");
  REQUIRE(members.size() == 3);
  CHECK(members[0].title.find('\n') == std::string::npos);
  CHECK(members[0].title.find('\x1b') == std::string::npos);
  CHECK(members[0].effect == "observe");
  CHECK(members[0].timeout_ms == 5);
  CHECK(members[1].effect == "act");
  CHECK(members[1].title == "silent");
  CHECK(members[2].effect == "disrupt");
  CHECK(members[2].timeout_ms == 0);
  CHECK_THROWS(app::read_members("[]"));
  CHECK_THROWS(app::read_members(std::string(100'000, '[')));
  CHECK_THROWS(app::read_members(R"({"protocol": 2, "hatches": []})"));
  CHECK(app::rank("observe") < app::rank("act"));
  CHECK(app::rank("nonsense") == app::rank("disrupt"));
}

TEST_CASE("an app's settings as an environment would hold them") {
  app::AppSettings read;
  CHECK(app::read_settings(R"({"result": {"settings": {"EMAIL_HOST": "mx", "EMAIL_PORT": 587, "EMAIL_USE_TLS": true,
    "NONE": null, "LIST": ["a"], "CELERY": {"broker_url": "redis://h", "deep": {"x": "y"}}}}})",
                           read));
  CHECK(read.values == app::Variables{{"EMAIL_HOST", "mx"},
                                      {"EMAIL_PORT", "587"},
                                      {"EMAIL_USE_TLS", "true"},
                                      {"CELERY_BROKER_URL", "redis://h"}});
  for (const char* bad : {"", "[]", "{", R"({"result": 1})", R"({"result": {"settings": []}})"})
    CHECK_FALSE(app::read_settings(bad, read));
}

TEST_CASE("a masked value fits what has the same form but for its secrets") {
  CHECK(app::fits_masked("hunter2", "******"));
  CHECK(app::fits_masked("redis://u:p@h/0", "redis://******@h/0"));
  CHECK(app::fits_masked("sentinel://:p@a;sentinel://:p@b", "sentinel://******@a;sentinel://******@b"));
  CHECK_FALSE(app::fits_masked("redis://u:p@other/0", "redis://******@h/0"));
  CHECK_FALSE(app::fits_masked("redis://h/0", "redis://******@h/0"));
  CHECK_FALSE(app::fits_masked("", "******"));
  CHECK_FALSE(app::fits_masked("******", "******"));
  CHECK(app::is_masked("redis://******@h") != app::is_masked("redis://h"));
}
