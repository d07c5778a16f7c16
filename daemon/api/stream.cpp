// Events of a run as server-sent text: from memory while it is there, else from its journal on disk.
#include <boost/json.hpp>

#include "api/api.hpp"
#include "base/json.hpp"
#include "runs/journal.hpp"

namespace hatchd::api {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t piece = 64 * 1024;

class LiveEvents : public http::BodyStream {
 public:
  LiveEvents(runs::Runner& runner, runs::LivePtr live, std::uint64_t after, bool cancels)
      : runner_(runner), live_(std::move(live)), after_(after), cancels_(cancels) {}
  LiveEvents(const LiveEvents&) = delete;
  // The stream goes when its client has gone.
  ~LiveEvents() override {
    if (cancels_ && !live_->over) runner_.cancel(live_);
  }

  boost::asio::awaitable<std::optional<std::string>> next() override {
    for (;;) {
      std::string text;
      while (const runs::Event* event = live_->events.behind(after_)) {
        if (event->number != after_ + 1)
          text += ": " + std::to_string(event->number - after_ - 1) + " events are no longer kept\n\n";
        text += runs::to_sse(*event);
        after_ = event->number;
        if (text.size() >= piece) break;
      }
      if (!text.empty()) co_return text;
      if (live_->over) co_return std::nullopt;
      // A comment now and then, so that proxies keep the connection and a client that left is noticed.
      const SteadyTime until = std::chrono::steady_clock::now() + 15s;
      co_await live_->changed.wait(until);
      if (std::chrono::steady_clock::now() >= until) co_return std::string(": still running\n\n");
    }
  }

 private:
  runs::Runner& runner_;
  runs::LivePtr live_;
  std::uint64_t after_;
  const bool cancels_;
};

// A run that has ended. What its journal lacks of the end (hatchd was killed, or the disk was full) the record knows.
class StoredEvents : public http::BodyStream {
 public:
  StoredEvents(runs::Pool& pool, UniqueFd file, runs::Run run, std::uint64_t after)
      : pool_(pool), journal_(std::move(file)), run_(std::move(run)), after_(after) {}

  boost::asio::awaitable<std::optional<std::string>> next() override {
    if (done_) co_return std::nullopt;
    auto work = [this] { return read(); };
    std::string text = co_await pool_.run(std::move(work));
    if (text.empty()) co_return std::nullopt;
    co_return text;
  }

 private:
  std::string read() {
    std::string text;
    while (text.size() < piece) {
      const auto line = journal_.next();
      if (!line) {
        done_ = true;
        return text + end();
      }
      const auto event = runs::event_of(*line);
      if (event) add(text, *event);
    }
    return text;
  }

  void add(std::string& text, const runs::Event& event) {
    if (event.number > std::max(last_, after_) + 1) text += ": some events are not kept\n\n";
    if (event.number > after_) text += runs::to_sse(event);
    last_ = event.number;
    told_ = event.type == "result";
  }

  std::string end() {
    std::string text;
    if (told_) return text;
    // Events may have been seen that never came to disk: their numbers are below these.
    constexpr std::uint64_t beyond = 1'000'000;
    const std::uint64_t number = last_ + beyond;
    for (const runs::Event& event :
         {runs::Event{number, "state", json::serialize(json::object{{"state", to_string(run_.state)}})},
          runs::Event{number + 1, "result", json::serialize(runs::result_event(run_))}})
      if (event.number > after_) text += runs::to_sse(event);
    return text;
  }

  runs::Pool& pool_;
  runs::Journal journal_;
  const runs::Run run_;
  const std::uint64_t after_;
  std::uint64_t last_ = 0;
  bool told_ = false, done_ = false;
};

http::Response stream_of(const std::string& run, std::shared_ptr<http::BodyStream> stream) {
  http::Response response;
  response.header("Content-Type", "text/event-stream").header("Cache-Control", "no-store");
  response.header("Location", "/v1/runs/" + run);
  response.stream = std::move(stream);
  return response;
}

}  // namespace

http::Response live_events(Api& api, runs::LivePtr live, std::uint64_t after, bool cancels) {
  const std::string id = live->run.id;
  return stream_of(id, std::make_shared<LiveEvents>(api.runner, std::move(live), after, cancels));
}

Answer events_of(Api& api, const runs::Run& run, std::uint64_t after) {
  const runs::LivePtr live = api.runner.live(run.id);
  // The disk may know more than memory, but not while the run goes on, nor when it had no room.
  if (live && (!live->over || !live->folder || live->events.whole_behind(after)))
    co_return live_events(api, live, after, false);
  auto file = co_await api.runner.open_events(run.id);
  UniqueFd descriptor;
  if (file) descriptor = std::move(*file);
  co_return stream_of(run.id, std::make_shared<StoredEvents>(api.pool, std::move(descriptor), run, after));
}

}  // namespace hatchd::api
