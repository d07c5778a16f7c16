// The parts of following a run: events in pieces, the line of progress, the head of a run.
#include <boost/json.hpp>

#include "catch.hpp"
#include "client/progress.hpp"
#include "client/show.hpp"
#include "client/sse.hpp"

using namespace hatchd::client;

TEST_CASE("events come whole, however the text is cut") {
  const std::string text =
      "id: 1\nevent: state\ndata: {\"state\":\"running\"}\n\n: still running\n\nid: 2\r\nevent: output\r\ndata: "
      "a\r\ndata: b\r\n\r\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::vector<Event> events;
    EventReader reader([&](const Event& event) { events.push_back(event); });
    REQUIRE(reader.feed(text.substr(0, cut)));
    REQUIRE(reader.feed(text.substr(cut)));
    CAPTURE(cut);
    REQUIRE(events.size() == 2);
    CHECK((events[0].id == 1 && events[0].type == "state" && events[0].data == "{\"state\":\"running\"}"));
    CHECK((events[1].id == 2 && events[1].type == "output" && events[1].data == "a\nb"));
  }
}

TEST_CASE("an event without end is given up") {
  EventReader reader([](const Event&) {});
  const std::string piece(64 * 1024, 'x');
  bool fits = true;
  for (int i = 0; i < 17; ++i) fits = reader.feed(piece);
  CHECK_FALSE(fits);
  EventReader lines([](const Event&) {});
  for (int i = 0; i < 17; ++i) fits = lines.feed("data: " + piece + "\n");
  CHECK_FALSE(fits);
}

TEST_CASE("the line of progress") {
  CHECK(progress_line(4000, "reading", 80) == "[########............]  40 %  reading");
  CHECK(progress_line(0, "", 80) == "[....................]   0 %");
  CHECK(progress_line(99999, "", 80) == "[####################] 100 %");
  CHECK(progress_line(-1, "waiting", 80) == "waiting");
  CHECK(progress_line(10000, "a\x1b[2J\nb", 80) ==
        "[####################] 100 %  a\xEF\xBF\xBD[2J\xEF\xBF\xBD"
        "b");
  CHECK(progress_line(-1, "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 4) == "\xC3\xA9\xC3\xA9\xC3\xA9");
}

TEST_CASE("the head of a run") {
  const boost::json::object record = boost::json::parse(R"({
    "id": "01A", "hatch": "stack.dump", "target": {"name": "web", "pid": 7}, "caller": {"name": "root", "via": "unix", "login": "bob"},
    "state": "succeeded", "duration_ms": 340, "created": "2026-01-01T00:00:00.000Z", "finished": null, "reason": "odd\u001b[2J",
    "artifacts": [{"name": "core", "bytes": 12, "href": "/v1/runs/01A/artifacts/core"}]})")
                                         .as_object();
  CHECK(head_of(record) ==
        "run       01A\nhatch     stack.dump on web (pid 7)\nstate     succeeded after 340 ms\n"
        "caller    root via unix, logged in as bob\ncreated   2026-01-01T00:00:00.000Z\nreason    odd\xEF\xBF\xBD[2J\n"
        "artifact  core, 12 bytes, /v1/runs/01A/artifacts/core\n");
  CHECK(
      head_of({{"id", "01B"}, {"hatch", "a.b"}, {"state", "queued"}, {"target", nullptr}, {"duration_ms", nullptr}}) ==
      "run       01B\nhatch     a.b\nstate     queued\n");
}
