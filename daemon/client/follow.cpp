#include "client/follow.hpp"

#include <time.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <optional>

#include "base/json.hpp"
#include "client/params.hpp"
#include "client/progress.hpp"
#include "client/sse.hpp"
#include "hatch/json.hpp"

namespace hatchd::client {

namespace {

constexpr int max_failures = 12;  // in a row: about half a minute

void pause_before(int attempt) {
  const timespec time{std::min(attempt, 3), 200'000'000};
  ::nanosleep(&time, nullptr);  // Ctrl-C ends it early
}

class Follower {
 public:
  Follower(const Client& client, std::string run, Tell tell, const Interrupts& interrupts, bool quick)
      : client_(client),
        run_(std::move(run)),
        tell_(tell),
        interrupts_(interrupts),
        quick_(quick),
        progress_(client.screen.bars() && !client.options.json) {}

  tl::expected<End, int> go() {
    for (int failures = 0;;) {
      const std::uint64_t before = last_;
      const Result<Answer> answer = connect();
      if (end_) return std::move(*end_);
      heed();
      if (answer && answer->status / 100 != 2 && answer->status < 500 && answer->status != 429)
        return tl::unexpected(said(*answer));
      if (!answer && last_ == 0 && failures == 0) return tl::unexpected(complain_of(answer.error()));
      failures = last_ == before ? failures + 1 : 1;
      if (failures > max_failures)
        return tl::unexpected(complain_of({"connection-broken",
                                           client_.endpoint.name() + " does not answer any more",
                                           {},
                                           "when it does: hatchctl follow " + run_}));
      progress_.show(-1, "the connection broke; trying again");
      pause_before(failures);
      heed();
    }
  }

 private:
  Result<Answer> connect() {
    EventReader reader([this](const Event& event) { take(event); });
    Call call{"GET", "/v1/runs/" + escape(run_) + "/events", {}, client_.options.json};
    call.accept = "text/event-stream, application/problem+json;q=0.5";
    if (last_ > 0) call.headers.emplace_back("Last-Event-ID", std::to_string(last_));
    call.limit = std::chrono::seconds(0);
    call.silence = std::chrono::seconds(60);  // the daemon sends a comment every 15 seconds
    call.go_on = [this] { return heed(); };
    return exchange(client_.endpoint, call, [&](std::string_view piece) { return reader.feed(piece) && !end_; });
  }

  int complain_of(const Problem& problem) {
    progress_.clear();
    return report(problem, client_.options, client_.screen);
  }

  // What the server refused.
  int said(const Answer& answer) {
    const Result<boost::json::value> body = parse_json(answer.body);
    if (client_.options.json || !body || !body->is_object()) return refused(client_, answer);
    complain_of(problem_from_json(body->get_object()));
    return exit_of(answer.status);
  }

  // Has somebody pressed Ctrl-C? Always true: what ends, ends this process.
  bool heed() {
    const int presses = interrupts_.presses();
    if (presses == 0) return true;
    const bool leaving = quick_ || presses > 1;
    if (!told_) {
      progress_.clear();
      complain(hatch::printable((quick_ || leaving ? "" : "\n") + std::string("the run goes on: hatchctl follow ") +
                                run_ + ", or hatchctl cancel " + run_) +
               (leaving ? "\n" : "; Ctrl-C again leaves it alone\n"));
      told_ = true;
    }
    if (leaving) {
      progress_.clear();
      interrupts_.leave();
    }
    return true;
  }

  void take(const Event& event) {
    const Result<boost::json::value> parsed = parse_json(event.data);
    if (!parsed || !parsed->is_object()) return;
    const boost::json::object& data = parsed->get_object();
    // A daemon that was restarted numbers anew, but the end is the end.
    if (event.id != 0 && event.id <= last_ && event.type != "result") return;
    last_ = std::max(last_, event.id);
    if (tell_ == Tell::everything) show(event, data);
    if (event.type == "progress") {
      progress_.show(number_of(data, "permyriad", -1), text_of(data, "note"));
    } else if (event.type == "result") {
      progress_.clear();
      if (!at_start_) print("\n");
      const boost::json::object* error = object_of(data, "error");
      end_ = End{text_of(data, "state"), error ? problem_from_json(*error) : Problem{}};
    }
  }

  void show(const Event& event, const boost::json::object& data) {
    std::string text;
    if (client_.options.json) {
      boost::json::object line{{"id", event.id}, {"event", event.type}, {"data", data}};
      text = boost::json::serialize(line);
    } else if (event.type == "state" && text_of(data, "state") != shown_state_) {
      text = shown_state_ = text_of(data, "state");
    } else if (event.type == "log") {
      text = text_of(data, "level", "info") + ": " + text_of(data, "message");
    } else if (event.type == "output") {
      text = text_of(data, "text");
    }
    if (text.empty()) return;
    progress_.clear();
    const bool output = event.type == "output" && !client_.options.json;  // comes in pieces of lines
    if (!output && !at_start_) print("\n");
    print(output ? hatch::printable(text, true) : shown(text, client_.options.json && !client_.screen.terminal));
    at_start_ = !output || text.ends_with('\n');
  }

  const Client& client_;
  const std::string run_;
  const Tell tell_;
  const Interrupts& interrupts_;
  const bool quick_;
  Progress progress_;
  std::uint64_t last_ = 0;
  std::string shown_state_;
  bool told_ = false, at_start_ = true;
  std::optional<End> end_;
};

}  // namespace

tl::expected<End, int> attend(const Client& client, const std::string& run, Tell tell, const Interrupts& interrupts,
                              bool quick) {
  return Follower(client, run, tell, interrupts, quick).go();
}

int conclude(const Client& client, const std::string& run, const End& end, const std::string& format) {
  const std::string path = "/v1/runs/" + escape(run) + (format.empty() ? "" : "?format=" + escape(format));
  if (end.state == "succeeded") return tell(client, {"GET", path, {}});
  const int code = end.error.code == "rights-missing" ? not_allowed : failed;
  if (client.options.json) {
    const int told = tell(client, {"GET", path, {}});
    return told == succeeded ? code : told;
  }
  // What went wrong, and behind it how far the run came.
  const Result<Answer> answer = exchange(client.endpoint, {"GET", "/v1/runs/" + escape(run), {}});
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) return refused(client, *answer);
  std::string text = answer->body;
  if (constexpr std::string_view start = "failed (run-cancelled): "; text.starts_with(start))
    text.replace(0, start.size(), "cancelled: ");
  text = shown(text, false);
  complain_of(text, client.screen);
  return code;
}

int follow(const Client& client, const std::string& run) {
  const Interrupts interrupts;
  const auto end = attend(client, run, Tell::everything, interrupts, true);
  if (!end) return end.error();
  if (!client.options.json) return conclude(client, run, *end, "");
  return end->state == "succeeded" ? succeeded : end->error.code == "rights-missing" ? not_allowed : failed;
}

}  // namespace hatchd::client
