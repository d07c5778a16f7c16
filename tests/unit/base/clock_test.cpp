#include "base/clock.hpp"

#include <thread>

#include "catch.hpp"

using namespace hatchd;
using namespace std::chrono_literals;

TEST_CASE("times are RFC 3339 in UTC") {
  CHECK(rfc3339(WallTime{1763908844123ms}) == "2025-11-23T14:40:44.123Z");
  CHECK(rfc3339(WallTime{-1ms}) == "1969-12-31T23:59:59.999Z");
  for (const auto time : {0ms, 1ms, 999ms, 1763908844123ms})
    CHECK(parse_rfc3339(rfc3339(WallTime{time})) == WallTime{time});
  // The last three are of times that WallTime does not have, or that are before all runs.
  for (const char* bad :
       {"", "2025-11-23", "2025-11-23T14:40:44Z", "2025-11-23T14:40:44.12xZ", "2025-11-23T14:40:44.123+",
        "9999-12-31T23:59:59.999Z", "1000-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_rfc3339(bad));
  }
}

TEST_CASE("ids are valid, distinct and sort in the order of making") {
  std::string last;
  for (int i = 0; i < 10000; ++i) {
    const std::string id = new_ulid();
    REQUIRE(is_ulid(id));
    REQUIRE(id > last);
    last = id;
  }
  CHECK_FALSE(is_ulid("../../etc/passwd"));
  CHECK_FALSE(is_ulid("01J00000000000000000000000U"));
  CHECK_FALSE(is_ulid("81J00000000000000000000000"));
}

TEST_CASE("ids go on behind one that is ahead of the clock, and never back") {
  // A thread of its own, since what follows stays with it.
  std::thread([] {
    const std::string ahead = "02G00000000000000000000000", end_of_its_millisecond = "02G0000001ZZZZZZZZZZZZZZZZ";
    REQUIRE(new_ulid() < ahead);
    continue_ulids(ahead);
    CHECK(new_ulid() == "02G00000000000000000000001");
    continue_ulids("02G0000000000000000000000Z");
    CHECK(new_ulid() == "02G00000000000000000000010");
    continue_ulids(end_of_its_millisecond);
    CHECK(new_ulid() == "02G00000020000000000000000");
    continue_ulids("01G00000000000000000000000");  // behind: nothing to follow
    CHECK(new_ulid() == "02G00000020000000000000001");
  }).join();
}

TEST_CASE("durations") {
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("30s") == 30s);
  CHECK(parse_duration("2m") == 2min);
  CHECK(parse_duration("24h") == 24h);
  CHECK(parse_duration("30d") == 720h);
  CHECK(parse_duration("0s") == 0s);
  for (const char* bad : {"", "s", "30", "-1s", "1.5s", "30 s", "30sec", "99999999999999999d"}) {
    CAPTURE(bad);
    CHECK(parse_duration(bad) == std::chrono::microseconds{-1});
  }
}
