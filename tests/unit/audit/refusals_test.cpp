#include "audit/refusals.hpp"

#include <boost/json.hpp>

#include "base/json.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::audit;
using namespace std::chrono_literals;
namespace json = boost::json;

namespace {
Refusal call(const std::string& source, const std::string& code = "unauthenticated") {
  Refusal refused;
  refused.source = source;
  refused.code = code;
  refused.status = 401;
  refused.method = "POST";
  refused.path = "/v1/hatches/stack.dump";
  refused.origin.address = source + ":1234";
  return refused;
}
}  // namespace

TEST_CASE("a flood of one source is two lines a window, with the number of calls") {
  Refusals refusals;
  const auto begin = std::chrono::steady_clock::now();
  std::size_t lines = 0;
  for (int i = 0; i < 10'000; ++i)
    if (refusals.note(call("192.0.2.7"), begin + std::chrono::milliseconds(i))) ++lines;
  CHECK(lines == 1);
  CHECK(refusals.due(begin + 59s).empty());
  const auto due = refusals.due(begin + 60s);
  REQUIRE(due.size() == 1);
  CHECK(number_of(due[0], "count") == 9999);
  CHECK(text_of(due[0], "source") == "192.0.2.7");
  CHECK(text_of(due[0], "code") == "unauthenticated");
  CHECK(text_of(due[0], "first") <= text_of(due[0], "last"));
  CHECK(refusals.due(begin + 200s).empty());
  CHECK(refusals.note(call("192.0.2.7"), begin + 61s).has_value());
}

TEST_CASE("another source, another code or another caller is another line") {
  Refusals refusals;
  const auto now = std::chrono::steady_clock::now();
  CHECK(refusals.note(call("uid 1"), now));
  CHECK(refusals.note(call("uid 2"), now));
  CHECK(refusals.note(call("uid 1", "role-missing"), now));
  Refusal named = call("uid 1");
  named.caller.name = "eve";
  CHECK(refusals.note(named, now));
  CHECK_FALSE(refusals.note(named, now));
  CHECK(refusals.rest().size() == 1);
}

TEST_CASE("a flood from everywhere has a bound, too") {
  Refusals refusals;
  const auto now = std::chrono::steady_clock::now();
  std::size_t lines = 0, more = 0;
  for (int i = 0; i < 5000; ++i)
    if (refusals.note(call("10.0.0." + std::to_string(i)), now)) ++lines;
  CHECK(lines == Refusals::max_kinds + 1);
  for (const json::object& line : refusals.rest()) {
    CHECK(text_of(line, "source") == "others");
    more += static_cast<std::size_t>(number_of(line, "count"));
  }
  CHECK(lines + more == 5000);
}

TEST_CASE("hostile text of a call is cut and made printable") {
  Refusals refusals;
  Refusal refused = call("uid 1");
  refused.path = "/\x1b[2J" + std::string(5000, 'a');
  refused.method = std::string(500, 'X');
  const auto line = refusals.note(refused, std::chrono::steady_clock::now());
  REQUIRE(line);
  CHECK(json::serialize(*line).size() < 1500);
  CHECK(text_of(*line, "path").find('\x1b') == std::string::npos);
}
