#include "base/clock.hpp"

#include "catch.hpp"

using namespace hatchd;
using namespace std::chrono_literals;

TEST_CASE("times are RFC 3339 in UTC") {
  CHECK(rfc3339(WallTime{1763908844123ms}) == "2025-11-23T14:40:44.123Z");
  CHECK(rfc3339(WallTime{-1ms}) == "1969-12-31T23:59:59.999Z");
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
