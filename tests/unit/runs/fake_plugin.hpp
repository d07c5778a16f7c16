// A plugin process that is a thread: it speaks the protocol at the other end of the channel, as a test tells it to.
#pragma once

#include <array>
#include <boost/json.hpp>
#include <functional>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "link/channel.hpp"

namespace json = boost::json;

// One run as the fake process sees it.
struct FakeRun {
  hatchd::link::Channel& plugin;
  hatchd::link::Channel channel;
  hatchd::link::Message start;
  std::string id;

  void started() {
    plugin.send(
        "started",
        {{"run", id}, {"pid", 4711}, {"target", {{"name", "web"}, {"pid", 42}, {"started", "2026-01-01T00:00:00Z"}}}});
  }
  void result(const std::string& text) { blob("result", {}, text); }
  void rendering(const std::string& name, const std::string& text) { blob("rendering", {{"name", name}}, text); }
  void closing(const std::string& status, json::object problem = {}) {
    json::object body{{"status", status}, {"longest_pause_us", 77}};
    if (!problem.empty()) body["problem"] = std::move(problem);
    channel.send("closing", std::move(body));
  }
  void ended(const std::string& how = "exit", int status = 0, json::value asked = nullptr) {
    channel.close();  // a process that ended holds nothing
    plugin.send("ended", {{"run", id},
                          {"how", how},
                          {"status", status},
                          {"asked", std::move(asked)},
                          {"killed", false},
                          {"longest_pause_us", 77}});
  }
  // The next message for the run, on its own channel or on the plugin's.
  static hatchd::link::Message next(hatchd::link::Channel& from) {
    hatchd::link::Message message;
    from.wait(message, 5000);
    return message;
  }

 private:
  void blob(const char* type, json::object body, const std::string& text) {
    auto memfd = hatchd::sealed_memfd("test", text);
    const std::array fds{memfd->get()};
    body["bytes"] = text.size();
    channel.send(type, std::move(body), fds);
  }
};

// Takes `start` messages until its channel ends. `act` plays one run; when it returns false the process ends.
class FakePlugin {
 public:
  using Act = std::function<bool(FakeRun&)>;

  FakePlugin(hatchd::UniqueFd end, Act act)
      : thread_([end = std::make_shared<hatchd::UniqueFd>(std::move(end)), act = std::move(act)] {
          hatchd::link::Channel plugin(std::move(*end));
          for (;;) {
            hatchd::link::Message message;
            if (plugin.wait(message, 10'000) != hatchd::link::Received::message) return;
            if (message.type != "start" || message.fds.empty()) continue;
            FakeRun run{plugin, hatchd::link::Channel(std::move(message.fds.front())), std::move(message), {}};
            run.id = hatchd::text_of(run.start.body, "run");
            if (!act(run)) return;
          }
        }) {}
  ~FakePlugin() { thread_.join(); }

 private:
  std::thread thread_;
};
