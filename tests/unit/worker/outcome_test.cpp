// Every way for a run to end, and its name. The messages are those of a possibly captured plugin process.
#include "link/outcome.hpp"

#include <sys/mman.h>

#include <boost/json.hpp>

#include "base/fd.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::link;
namespace json = boost::json;

namespace {

Message message(const char* type, json::object body, std::string_view content = {}) {
  Message made{type, std::move(body), {}};
  if (!content.empty()) made.fds.push_back(std::move(*sealed_memfd("test", content)));
  return made;
}
void take(Outcome& outcome, Message made) { REQUIRE(outcome.take(made)); }
json::object ended(const char* how, int status, json::value asked = nullptr) {
  return {{"run", "x"},     {"how", how},      {"status", status},
          {"asked", asked}, {"killed", false}, {"longest_pause_us", 12}};
}

}  // namespace

TEST_CASE("how a run ended, by its closing and what it was asked") {
  struct Case {
    const char *closing, *asked, *state, *code;
  };
  const Case one = GENERATE(
      Case{"ok", nullptr, "succeeded", ""}, Case{"ok", "cancelled", "succeeded", ""},
      Case{"ok", "deadline", "succeeded", ""}, Case{"failed", nullptr, "failed", "run-failed"},
      Case{"failed", "cancelled", "failed", "run-failed"}, Case{"cancelled", "cancelled", "cancelled", "run-cancelled"},
      Case{"cancelled", "deadline", "timed-out", "run-timeout"},
      Case{"cancelled", nullptr, "cancelled", "run-cancelled"}, Case{"broken", nullptr, "failed", "run-failed"},
      Case{"nonsense", nullptr, "failed", "run-failed"}, Case{nullptr, "cancelled", "cancelled", "run-cancelled"},
      Case{nullptr, "deadline", "timed-out", "run-timeout"}, Case{nullptr, "pause", "failed", "run-failed"},
      Case{nullptr, "gone", "failed", "run-failed"}, Case{nullptr, nullptr, "crashed", "run-crashed"},
      Case{nullptr, "nonsense", "crashed", "run-crashed"});
  CAPTURE(one.closing, one.asked);
  Outcome outcome;
  take(outcome, message("result", {}, R"({"verdict": "done"})"));
  if (one.closing)
    take(outcome, message("closing", {{"status", one.closing}, {"problem", {{"code", "made-up"}, {"detail", "no"}}}}));
  CHECK_FALSE(outcome.ended());
  take(outcome, message("ended", ended("exit", 0, one.asked ? json::value(one.asked) : json::value(nullptr))));
  CHECK(outcome.ended());
  CHECK(to_string(outcome.state()) == one.state);
  CHECK((outcome.problem() ? outcome.problem()->code : "") == one.code);
  CHECK(outcome.longest_pause_us() == 12);
  CHECK(outcome.verdict() == "done");
}

TEST_CASE("deaths have names") {
  Outcome by_signal, by_exit, unknown;
  take(by_signal, message("ended", ended("signal", 11)));
  CHECK(by_signal.problem()->detail == "the run ended with signal 11 (SIGSEGV), before it answered");
  take(by_exit, message("ended", ended("exit", 3)));
  CHECK(by_exit.problem()->detail == "the run ended with exit status 3, before it answered");
  take(unknown, message("ended", ended("signal", 9999)));
  CHECK(unknown.problem()->detail == "the run ended with signal 9999, before it answered");
}

TEST_CASE("a plugin process that dies takes its runs along, but not an answer that was given") {
  Outcome silent, answered;
  silent.plugin_gone(death_text("signal", 9));
  CHECK(silent.ended());
  CHECK(silent.state() == RunState::crashed);
  CHECK(silent.problem()->detail.find("its plugin's process, signal 9 (SIGKILL)") != std::string::npos);
  take(answered, message("result", {}, R"({"verdict": "done"})"));
  take(answered, message("closing", {{"status", "ok"}}));
  answered.plugin_gone(death_text("signal", 9));
  CHECK(answered.state() == RunState::succeeded);
}

TEST_CASE("ok needs a valid result") {
  const char* bad = GENERATE(R"({"answer": 1})", R"(["verdict"])", R"({"verdict": 1})", R"({"a": {"verdict": "deep"}})",
                             R"({"verdict": "x"} more)", R"({"verdict": "x")", "{\"verdict\": \"\xFF\"}");
  CAPTURE(bad);
  Outcome outcome;
  take(outcome, message("result", {}, bad));
  take(outcome, message("closing", {{"status", "ok"}}));
  take(outcome, message("ended", ended("exit", 0)));
  CHECK(outcome.state() == RunState::failed);
  CHECK(outcome.problem()->detail.find("the plugin returned an invalid result: ") == 0);
  CHECK(outcome.result().empty());
}

TEST_CASE("ok without any result") {
  Outcome outcome;
  take(outcome, message("result", {}));  // no descriptor came along
  take(outcome, message("closing", {{"status", "ok"}}));
  take(outcome, message("ended", ended("exit", 0)));
  CHECK(outcome.problem()->detail == "the plugin returned no result");
}

TEST_CASE("a small result stands in its message") {
  Outcome outcome;
  take(outcome, message("result", {{"text", R"({"verdict": "done"})"}}));
  take(outcome, message("rendering", {{"name", "text"}, {"text", "done\x1b[2J"}}));
  CHECK(outcome.verdict() == "done");
  REQUIRE(outcome.renderings().size() == 1);
  CHECK(outcome.renderings()[0].second.find('\x1b') == std::string::npos);
}

TEST_CASE("the last result counts") {
  Outcome outcome;
  take(outcome, message("result", {}, R"({"verdict": "first"})"));
  take(outcome, message("result", {}, " {\"nested\": {\"verdict\": [\"no\"]}, \"verdict\": \"sec\\u006fnd\"}\n"));
  CHECK(outcome.verdict() == "second");
}

TEST_CASE("renderings are printable and few") {
  Outcome outcome;
  take(outcome, message("rendering", {{"name", "text"}}, "plain\n\ttext\n"));
  take(outcome, message("rendering", {{"name", "folded"}}, "red \x1b[31m \xff"));
  for (int i = 0; i < 20; ++i) take(outcome, message("rendering", {{"name", "r" + std::to_string(i)}}, "x"));
  take(outcome, message("rendering", {{"name", "text"}}, "again"));
  REQUIRE(outcome.renderings().size() == Outcome::max_renderings);
  CHECK(outcome.renderings()[0].second == "again");
  CHECK(outcome.renderings()[1].second == "red \xEF\xBF\xBD[31m \xEF\xBF\xBD");
}

TEST_CASE("rights-missing keeps its list; controls in details do not survive") {
  Outcome outcome;
  take(outcome,
       message(
           "closing",
           {{"status", "failed"},
            {"problem", {{"code", "rights-missing"}, {"detail", "no\x1b[2J"}, {"missing", json::array{"CAP_KILL"}}}}}));
  take(outcome, message("ended", ended("exit", 0)));
  CHECK(outcome.problem()->code == "rights-missing");
  CHECK(outcome.problem()->missing == std::vector<std::string>{"CAP_KILL"});
  CHECK(outcome.problem()->detail == "no\xEF\xBF\xBD[2J");
}

TEST_CASE("other messages are not the outcome's") {
  Outcome outcome;
  Message event = message("event", {{"event", "log"}});
  CHECK_FALSE(outcome.take(event));
}
