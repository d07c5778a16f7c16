#include "stack/node/inspector.hpp"

#include <algorithm>

#include "hatch/json.hpp"
#include "stack/node/json.hpp"
#include "stack/node/probe.hpp"

namespace stack::node {
namespace {

using namespace std::chrono_literals;

// Where a program runs JavaScript at all, its next step comes within this; then it is taken for idle, and proved to be.
constexpr auto next_step = 10ms;
constexpr std::size_t max_workers = 256, max_scripts = 20'000, max_list = 256 * 1024;
constexpr std::string_view async_depth = R"({"maxDepth":32})";

// An id or a URL path: what may stand in a request line and in a command of ours without further thought.
bool is_plain(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  });
}

// Nothing but the probe was running.
bool is_probe_alone(const Agent& agent) {
  bool alone = true;
  each_element(member(agent.paused, "callFrames"), [&](std::string_view call) {
    alone = url_of(call, agent) == probe_url;
    return alone;
  });
  return alone;
}

}  // namespace

std::string url_of(std::string_view call, const Agent& agent) {
  std::string url = text_of(member(call, "url"), 1024);
  if (!url.empty()) return url;
  std::string_view location = member(call, "location");
  if (location.empty()) location = call;
  const auto script = agent.scripts.find(text_of(member(location, "scriptId"), 32));
  return script == agent.scripts.end() ? std::string{} : script->second;
}

bool Inspector::find(const Endpoint& endpoint) {
  const auto deadline = Clock::now() + patience;
  path_.clear();
  if (!socket_.connect(endpoint, deadline)) return false;
  const HttpAnswer list = socket_.get("/json/list", max_list, deadline);
  if (!list.ok()) return false;
  each_element(list.body, [&](std::string_view entry) {
    const std::string id = text_of(member(entry, "id"));
    if (text_of(member(entry, "type")) == "node" && is_plain(id)) path_ = "/" + id;
    return path_.empty();
  });
  if (path_.empty()) return false;
  if (const HttpAnswer version = socket_.get("/json/version", max_list, deadline); version.ok()) {
    version_ = text_of(member(version.body, "Browser"), 64);
    version_.erase(0, version_.find('/') + 1);
  }
  return true;
}

// ---- commands
// ----------------------------------------------------------------------------------------------------------

std::int64_t Inspector::send(Agent& agent, std::string_view method, std::string_view parameters) {
  const std::int64_t id = ++next_id_;
  agent.reply_to = id;
  agent.reply.clear();
  std::string text = "{\"id\":" + std::to_string(id) + ",\"method\":\"" + std::string(method) +
                     "\",\"params\":" + std::string(parameters) + "}";
  if (!agent.session.empty()) {
    std::string outer = "{\"id\":" + std::to_string(++next_id_) +
                        ",\"method\":\"NodeWorker.sendMessageToWorker\",\"params\":{\"sessionId\":\"" + agent.session +
                        "\",\"message\":";
    hatch::append_quoted(outer, text);
    text = outer + "}}";
  }
  socket_.send(text, Clock::now() + patience);
  return id;
}

bool Inspector::await(Clock::time_point deadline, const std::function<bool()>& done) {
  std::string message;
  while (!done()) {
    switch (socket_.receive(message, came_, deadline)) {
      case Got::message: take(message); break;
      case Got::timeout: return false;
      case Got::cancelled: return cancelled_ = true, socket_.close(), false;
      case Got::closed: error_ = "the inspector closed the connection"; return false;
      case Got::broken: error_ = "what answered does not speak the inspector's protocol"; return false;
    }
  }
  return true;
}

std::optional<std::string> Inspector::call(Agent& agent, std::string_view method, std::string_view parameters,
                                           std::chrono::milliseconds limit) {
  send(agent, method, parameters);
  if (!await(Clock::now() + limit, [&] { return !agent.reply.empty() || agent.gone; }) || agent.gone)
    return std::nullopt;
  return agent.reply;
}

void Inspector::take(const std::string& message) {
  const std::string method = text_of(member(message, "method"));
  const std::string_view parameters = member(message, "params");
  if (method == "NodeWorker.attachedToWorker") {
    const std::string session = text_of(member(parameters, "sessionId"));
    if (!is_plain(session) || agents_.size() > max_workers) return;
    const std::string_view info = member(parameters, "workerInfo");
    Agent& worker = agents_.emplace_back();
    worker.session = session;
    worker.worker_id = text_of(member(info, "workerId"), 64);
    worker.title = text_of(member(info, "title"), 256);
    worker.url = text_of(member(info, "url"));
    return;
  }
  if (method == "NodeWorker.receivedMessageFromWorker" || method == "NodeWorker.detachedFromWorker") {
    const std::string session = text_of(member(parameters, "sessionId"));
    const auto worker = std::find_if(agents_.begin(), agents_.end(),
                                     [&](const Agent& a) { return !a.session.empty() && a.session == session; });
    if (worker == agents_.end()) return;
    if (method.ends_with("detachedFromWorker"))
      worker->gone = true;
    else
      take(*worker, text_of(member(parameters, "message"), WebSocket::max_message), came_);
    return;
  }
  take(agents_.front(), message, came_);
}

void Inspector::take(Agent& agent, std::string_view message, Clock::time_point came) {
  if (const auto id = number_of(member(message, "id"))) {
    if (*id == agent.reply_to) agent.reply = message;
    if (*id == agent.probe) agent.probe_reply = message;
    return;
  }
  const std::string method = text_of(member(message, "method"));
  const std::string_view parameters = member(message, "params");
  if (method == "Debugger.paused") {
    agent.paused = parameters;
    agent.paused_at = came;
    agent.is_paused = true;
  } else if (method == "Debugger.resumed") {
    agent.is_paused = false;
  } else if (method == "Debugger.scriptParsed" && agent.scripts.size() < max_scripts) {
    if (std::string url = text_of(member(parameters, "url"), 1024); !url.empty())
      agent.scripts.emplace(text_of(member(parameters, "scriptId"), 32), std::move(url));
  }
}

// ---- stacks
// ------------------------------------------------------------------------------------------------------------

bool Inspector::read() {
  agents_.assign(1, {});
  agents_.reserve(max_workers + 2);  // workers announce themselves while others are being talked to
  if (!socket_.upgrade(path_, Clock::now() + patience)) {
    error_ = "the inspector did not accept a connection within " + std::to_string(patience.count()) + " ms";
    return false;
  }
  // The workers that are there announce themselves before the answer. A Node without them says that it knows no such
  // command.
  if (!call(agents_.front(), "NodeWorker.enable", R"({"waitForDebuggerOnStart":false})")) {
    if (error_.empty())
      error_ = "the main thread did not answer the inspector within " + std::to_string(patience.count()) +
               " ms: it is busy in native code, or blocked in a system call";
    return false;
  }
  const auto end = Clock::now() + patience_with_all;
  for (std::size_t i = 0; i < agents_.size() && socket_.is_open() && !cancelled_ && Clock::now() < end; ++i)
    read_stack(i);
  for (Agent& agent : agents_)
    if (!agent.answered && agent.error.empty()) agent.error = error_.empty() ? "it was not asked any more" : error_;
  return std::any_of(agents_.begin(), agents_.end(), [](const Agent& a) { return a.answered; });
}

void Inspector::read_stack(std::size_t index) {
  Agent& agent = agents_[index];
  if (!call(agent, "Debugger.enable")) {
    if (agent.error.empty())
      agent.error =
          agent.gone ? "it ended" : "it did not answer: it is busy in native code, or blocked in a system call";
    return;
  }
  agent.held_by_other = agent.is_paused;  // it stays so: it is not ours to let go
  if (!agent.held_by_other) call(agent, "Debugger.setAsyncCallStackDepth", async_depth);
  agent.answered = agent.held_by_other || pause(agent);
  // A pause that has not come yet comes no more.
  if (socket_.is_open() && !agent.gone) call(agent, "Debugger.disable");
  if (!agent.answered && agent.error.empty())
    agent.error = "it did not stop for the debugger: it is busy in native code, or blocked in a system call";
}

// Whether its stack is known, or that it has none.
bool Inspector::pause(Agent& agent) {
  if (!call(agent, "Debugger.pause")) return false;
  if (await(Clock::now() + next_step, [&] { return agent.is_paused || agent.gone; })) {
    if (agent.is_paused) resume(agent);
    return !agent.paused.empty();
  }
  if (!socket_.is_open()) return false;
  // Nothing runs that could be stopped. So it is given something: the pause comes within, and what called it, if
  // anything did, lies below.
  agent.probe = send(agent, "Runtime.evaluate", probe_parameters);
  const auto deadline = Clock::now() + patience;
  const auto has_reply = [&] { return !agent.probe_reply.empty() || agent.gone; };
  await(deadline, [&] { return agent.is_paused || has_reply(); });
  if (agent.is_paused) {
    resume(agent);
    await(deadline, has_reply);
  }
  if (!agent.probe_reply.empty()) {
    agent.idle = is_probe_alone(agent);
    agent.resources = probe_result(agent.probe_reply);
  }
  return !agent.probe_reply.empty() || !agent.paused.empty();
}

void Inspector::resume(Agent& agent) {
  hold_.begin();
  const auto deadline = agent.paused_at + hold_.max_pause();
  send(agent, "Debugger.resume");
  const bool resumed = await(deadline, [&] { return !agent.is_paused || agent.gone; });
  if (!resumed) socket_.close();  // Node goes on without its debugger
  agent.held = micros_since(agent.paused_at);
  hold_.end();
  if (!resumed && error_.empty())
    error_ = "the pause budget of " + std::to_string(hold_.max_pause().count()) + " us was used up";
}

std::optional<std::string> Inspector::evaluate(std::string_view expression) {
  agents_.assign(1, {});
  if (!socket_.upgrade(path_, Clock::now() + patience)) {
    error_ = "the inspector did not accept a connection within " + std::to_string(patience.count()) + " ms";
    return std::nullopt;
  }
  std::string parameters = "{\"returnByValue\":true,\"silent\":true,\"expression\":";
  hatch::append_quoted(parameters, expression);
  const auto reply = call(agents_.front(), "Runtime.evaluate", parameters + "}");
  socket_.close();
  if (!reply) {
    if (error_.empty()) error_ = "the main thread did not answer: it is busy, or stopped by another debugger";
    return std::nullopt;
  }
  const std::string_view result = member(member(*reply, "result"), "result");
  if (text_of(member(result, "type")) != "string") return error_ = "the answer is no text", std::nullopt;
  return text_of(member(result, "value"), std::size_t{1} << 20);
}

void Inspector::end_debugging(const Endpoint& endpoint) {
  if (!socket_.is_open() && (!find(endpoint) || !socket_.upgrade(path_, Clock::now() + patience))) return;
  if (agents_.empty()) agents_.emplace_back();
  // No answer comes: the server closes the connection.
  send(agents_.front(), "Runtime.evaluate", R"js({"expression":"process._debugEnd()","silent":true})js");
  const std::string error = error_;
  await(Clock::now() + patience, [] { return false; });
  error_ = error;
}

}  // namespace stack::node
