// The ways to the plugin processes. The supervisor starts them and hands out their channels; the front asks for one
// when a run needs it, and learns from the end of the channel that the process is gone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runs/live.hpp"

namespace hatchd::runs {

// One plugin process.
class PluginLink {
 public:
  PluginLink(asio::any_io_executor executor, std::string name, pid_t pid, link::Channel channel)
      : name(std::move(name)), pid(pid), receiver(executor, std::move(channel)), changed(executor) {}

  // Has the process end one of its runs.
  void call_off(const std::string& run) { receiver.send("cancel", {{"run", run}}); }

  const std::string name;
  const pid_t pid;
  Receiver receiver;
  Signal changed;
  bool gone = false;  // the channel ended
  std::string how;    // how the process ended, once the supervisor said so
  std::map<std::string, std::weak_ptr<Live>> runs;
};

class Plugins {
 public:
  // `ask` sends `plugin` to the supervisor; false when that is not possible.
  Plugins(asio::any_io_executor executor, std::function<bool(const std::string&)> ask)
      : executor_(std::move(executor)), changed_(executor_), ask_(std::move(ask)) {}

  // The link to the plugin's process, started when there is none; a problem when the supervisor refuses or says
  // nothing.
  asio::awaitable<Result<std::shared_ptr<PluginLink>>> get(std::string name);

  // What the supervisor says.
  void arrived(const std::string& name, pid_t pid, link::Channel channel);
  void refused(const std::string& name, Problem problem);
  // `rest`: how long the supervisor waits before it starts the next one.
  void ended(const std::string& name, pid_t pid, std::string how, std::chrono::milliseconds rest = {});
  // Its runs go on; the next run asks for a new process, which has a new setup.
  void retire(const std::string& name);

  // Seconds until the plugin's process may start again, when that is too long for a run to wait for; else 0.
  unsigned rest(const std::string& name, SteadyTime now) const;

  void close();  // every channel: plugin processes end when their front is gone

 private:
  struct Slot {
    std::shared_ptr<PluginLink> link;
    bool asked = false;
    unsigned answers = 0;  // counts refusals, so that each asker sees the one to its own question
    Problem refusal;
    SteadyTime rest_until{};
    std::vector<std::weak_ptr<PluginLink>> all;  // with those that are retired or gone while somebody still asks how
  };

  asio::awaitable<void> listen(std::shared_ptr<PluginLink> link);

  asio::any_io_executor executor_;
  Signal changed_;
  std::function<bool(const std::string&)> ask_;
  std::map<std::string, Slot> slots_;
};

}  // namespace hatchd::runs
