// The real hatchd-worker with a fixture plugin in it, and a test in the place of supervisor, front and targets.
#pragma once

#include <sys/types.h>

#include <boost/json.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "link/channel.hpp"
#include "link/outcome.hpp"

// hatchd-worker as the supervisor starts it, with its channel.
struct WorkerProcess {
  explicit WorkerProcess(const std::string& title);
  WorkerProcess(const WorkerProcess&) = delete;
  ~WorkerProcess();  // kills it if it still runs

  // Waits up to `timeout_ms` for its end: "exit status 10", "signal 11 (SIGSEGV)"; "running" when it did not end.
  std::string end(int timeout_ms = 20'000);
  bool alive() { return end(0) == "running"; }

  pid_t pid = -1;
  hatchd::link::Channel channel;

 private:
  std::string ended_;
};

// A fixture, opened for reading: "probe" is FIXTURES/probe.so.
hatchd::UniqueFd fixture(const std::string& name);
// What role "manifest" says about a fixture: the message, or nothing within the time; `end` is how the child ended.
struct ManifestAnswer {
  std::string type;
  boost::json::object body;
  std::string end;
};
ManifestAnswer manifest_of(const std::string& name, int timeout_ms = 5000);

// A run as its caller saw it.
struct Seen {
  std::optional<hatchd::Problem> refused;
  boost::json::object started, ended;
  std::vector<boost::json::object> events;
  std::map<std::string, std::string> artifacts;  // committed ones
  int aborted = 0;
  hatchd::link::Outcome outcome;

  boost::json::object result();
  std::string state() { return std::string(to_string(outcome.state())); }
  std::string code() { return outcome.problem() ? outcome.problem()->code : ""; }
  std::string detail() { return outcome.problem() ? outcome.problem()->detail : ""; }
  std::string rendering(const std::string& name);
};

class PluginUnderTest {
 public:
  // `setup`: members that replace the usual ones of the supervisor's message.
  explicit PluginUnderTest(const std::string& fixture_name, boost::json::object setup = {});

  // Starts a run, plays its caller until it ended, and says how it went. `start`: more members of the message.
  // `on_event` may call cancel().
  Seen run(const std::string& hatch, boost::json::object params = {}, boost::json::object start = {},
           const std::function<void(const std::string& event)>& on_event = {});
  // The two halves of run(), for several at once.
  std::string start(const std::string& hatch, boost::json::object params = {}, boost::json::object start = {},
                    int stream = -1);
  Seen finish(const std::string& id, const std::function<void(const std::string& event)>& on_event = {});
  void cancel(const std::string& id) { front.send("cancel", {{"run", id}}); }
  void to_run(const std::string& id, const char* type) { channels_.at(id).send(type); }
  std::string last_id;

  WorkerProcess process;
  hatchd::link::Channel front, targets;
  bool targets_answer = true;  // whether the test answers `open`
  int target_processes = 1;    // how many (copies of) processes the target has

 private:
  void answer_targets();
  void read_front();

  bool front_ended_ = false;
  std::map<std::string, hatchd::link::Channel> channels_;
  std::map<std::string, std::vector<hatchd::link::Message>> front_messages_;  // by run
};
