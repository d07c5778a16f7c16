// The conversation with Node's inspector (Chrome DevTools Protocol 1.3, domains Debugger, Runtime and NodeWorker): what
// JavaScript the main thread and each worker run.
//
// For each: Debugger.enable, Debugger.pause, the frames come with Debugger.paused, Debugger.resume, Debugger.disable.
// A thread of JavaScript stands still between the last two but one. Should anything fail there the connection is closed,
// and then Node lets it go on by itself. Commands go one at a time: a Runtime.evaluate sent together with a
// Debugger.pause was seen to leave a program paused without an answer.
#pragma once

#include <functional>
#include <map>

#include "stack/node/websocket.hpp"

namespace stack::node {

// A thread of JavaScript, as far as it told.
struct Agent {
  std::string session;  // of a worker; empty: the main thread
  std::string worker_id, title, url;
  std::string paused;                          // the parameters of Debugger.paused: JSON, hostile
  std::map<std::string, std::string> scripts;  // id to URL
  std::string resources;                       // of an idle one: JSON object, what it waits for
  bool answered = false;                       // to Debugger.pause
  bool idle = false;                           // it runs no JavaScript
  bool held_by_other = false;                  // somebody else's debugger has stopped it
  Micros held{0};
  std::string error;  // why there are no frames

  // While it is talked to.
  std::int64_t reply_to = 0, probe = 0;
  std::string reply, probe_reply;
  bool is_paused = false, gone = false;
  Clock::time_point paused_at{};
};

// Where the script of a call frame comes from: its own word for it, else that of Debugger.scriptParsed.
std::string url_of(std::string_view call, const Agent& agent);

class Inspector {
 public:
  // Where the run's own limits leave time, each step has this much.
  static constexpr std::chrono::milliseconds patience{2000};
  static constexpr std::chrono::milliseconds patience_with_all{10'000};

  explicit Inspector(Hold& hold) : hold_(hold), socket_(hold) {}

  // An inspector answers there. Remembers where its WebSocket is.
  bool find(const Endpoint& endpoint);
  // Reads the stacks of all. False: it did not come to that, and error() says why.
  bool read();
  // What an expression of JavaScript comes to in the main thread, where that is a string; nullopt: error() says why.
  std::optional<std::string> evaluate(std::string_view expression);
  // Makes Node close its inspector, which ends the connection; on a new one where ours is gone. Whether it did is seen
  // by its socket.
  void end_debugging(const Endpoint& endpoint);

  const std::vector<Agent>& agents() const { return agents_; }
  const std::string& version() const { return version_; }  // "v20.20.2"; hostile
  const std::string& error() const { return error_; }

 private:
  std::int64_t send(Agent& agent, std::string_view method, std::string_view parameters = "{}");
  // Reads until `done`. False: not before the deadline, or the connection is over.
  bool await(Clock::time_point deadline, const std::function<bool()>& done);
  // The result of a command; nullopt: none came.
  std::optional<std::string> call(Agent& agent, std::string_view method, std::string_view parameters = "{}",
                                  std::chrono::milliseconds limit = patience);
  void take(const std::string& message);
  void take(Agent& agent, std::string_view message, Clock::time_point came);
  void read_stack(std::size_t index);
  bool pause(Agent& agent);
  void resume(Agent& agent);

  Hold& hold_;
  WebSocket socket_;
  std::string path_, version_, error_;
  std::vector<Agent> agents_;
  std::int64_t next_id_ = 0;
  Clock::time_point came_{};
  bool cancelled_ = false;
};

}  // namespace stack::node
