#include "stack/node/node.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <thread>

#include "hatch/json.hpp"
#include "stack/listeners.hpp"
#include "stack/node/exports.hpp"
#include "stack/node/inspector.hpp"
#include "stack/node/json.hpp"
#include "stack/node/options.hpp"
#include "stack/node/probe.hpp"
#include "stack/node/sigaction.hpp"
#include "stack/refusal.hpp"
#include "stack/waiting.hpp"

namespace stack {
namespace node {
namespace {

using namespace std::chrono_literals;

constexpr auto opening_limit = 1000ms;  // a Node that can open its inspector does so within a few milliseconds
constexpr auto closing_limit = 1000ms;
constexpr std::size_t max_candidates = 8;
constexpr std::size_t max_name = 1024;

bool is_caught(const Process& process, pid_t living, int signal) {
  const auto status = read_below(process.proc_fd, "task/" + std::to_string(living) + "/status", 16 * 1024);
  return status && has_signal(*status, "SigCgt", signal);
}

// What the main thread is blocked in, where that keeps it from noticing anything; empty: it runs, or waits for events.
std::string blocked_in(const Process& process) {
  const auto text = read_below(process.proc_fd, "task/" + std::to_string(process.pid) + "/syscall", 512);
  std::int64_t call = -1;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), call).ec != std::errc{} || call < 0)
    return {};
  std::string name = system_call_name(static_cast<std::uint64_t>(call));
  return name.starts_with("epoll_") ? std::string{} : name;
}

// Once the signal is sent, what it opened is waited for and closed, also when the run is cancelled meanwhile.
class Fence final : public Hold {
 public:
  explicit Fence(Hold& hold) : hold_(hold) {}
  void begin() override { hold_.begin(); }
  void end() override { hold_.end(); }
  bool cancelled() override { return !tidying && hold_.cancelled(); }
  Micros max_pause() const override { return hold_.max_pause(); }

  bool tidying = false;

 private:
  Hold& hold_;
};

class NodeReader final : public RuntimeReader {
 public:
  NodeReader(const Subject& subject, const Module& module) : subject_(subject), module_(module) {}

  std::string_view mode() const override { return "node"; }
  std::string runtime() const override { return "Node.js"; }
  bool has_stacks() const override { return read_; }

  bool gather(const Options& options, Hold& hold) override {
    Fence fence{hold};
    Inspector inspector{fence};
    if (find(inspector, options, fence)) {
      fence.tidying = false;
      read_ = inspector.read();
      fence.tidying = true;
      if (opened_) close(inspector);
      agents_ = inspector.agents();
      version_ = inspector.version();
      if (!read_)
        fail(inspector.error());
      else
        add_note(inspector.error());
    }
    return !hold.cancelled();
  }

  RuntimeStacks digest(const Options& options, Hold&) override {
    RuntimeStacks stacks;
    stacks.runtime = version_.empty() ? runtime() : runtime() + " " + version_.substr(version_.starts_with('v'));
    stacks.trouble = std::move(trouble_);
    stacks.note = std::move(note_);
    if (!inspector_.empty()) stacks.members.emplace_back("inspector", inspector_.json());
    if (!read_) return stacks;
    FrameTable frames;
    for (const Agent& agent : agents_) {
      stacks.threads.push_back(show_agent(agent, subject_.process.pid, options.max_frames, frames));
      stacks.paused = std::max(stacks.paused, agent.held);
    }
    stacks.frames = std::move(frames.frames);
    return stacks;
  }

 private:
  void fail(std::string detail, std::vector<std::string> missing = {}, std::string remedy = {},
            Trouble::Kind kind = Trouble::Kind::other) {
    trouble_ = Trouble{kind, std::move(detail), std::move(missing), std::move(remedy)};
  }
  void add_note(const std::string& note) {
    if (note.empty()) return;
    if (!note_.empty()) note_ += "; ";
    note_ += note;
  }

  bool try_one(Inspector& inspector, const Listener& listener) {
    if (!inspector.find(listener.endpoint)) return false;
    listener_ = listener;
    inspector_.add("address", listener.endpoint.text).add("opened", opened_);
    return true;
  }

  // An inspector that is open, or is opened.
  bool find(Inspector& inspector, const Options& options, Fence& fence) {
    const Process& process = subject_.process;
    const std::string task = "task/" + std::to_string(subject_.living) + "/";
    const auto command_line = read_below(process.proc_fd, task + "cmdline", 64 * 1024).value_or("");
    const auto environment = read_below(process.proc_fd, task + "environ", 256 * 1024).value_or("");
    const InspectorOptions asked = read_options(command_line, variable_of(environment, "NODE_OPTIONS"));
    if (!shares_network(process, subject_.living)) {
      fail("Node's inspector is in another network namespace, which hatchd cannot reach",
           {"the target's network namespace"}, "run hatchd in the same pod or network namespace as the target");
      return false;
    }
    const Listeners before = find_listeners(process, subject_.living);
    if (!before.error.empty()) {
      fail("whether Node's inspector is open is not known: " + before.error, {"CAP_SYS_PTRACE"},
           "give hatchd CAP_SYS_PTRACE, or run it as the target's user", Trouble::Kind::rights);
      return false;
    }
    // A port that it chose by itself can be any that it listens on; others of its ports are the app's, and left alone.
    std::size_t tried = 0;
    for (const Listener& listener : before.own) {
      const bool maybe = asked.expected() == 0 ? asked.wanted && listener.loopback : listener.port == asked.expected();
      if (!maybe || ++tried > max_candidates) continue;
      if (fence.cancelled()) return false;
      if (try_one(inspector, listener)) return true;
    }
    return open(inspector, options, fence, asked, before);
  }

  bool open(Inspector& inspector, const Options& options, Fence& fence, const InspectorOptions& asked,
            const Listeners& before) {
    const Process& process = subject_.process;
    const std::string closed = "Node's inspector is not open";
    std::string why;
    if (asked.signal_disabled || !is_caught(process, subject_.living, SIGUSR1))
      why = "it does not wait for SIGUSR1, which would end it" +
            std::string(asked.signal_disabled ? " (--disable-sigusr1)" : "");
    else if (const std::string call = blocked_in(process); !call.empty())
      why = "its main thread is blocked in " + call + ", so it would open only after that";
    else if (std::find(before.others.begin(), before.others.end(), asked.expected()) != before.others.end())
      why = "another process listens on port " + std::to_string(asked.expected()) + ", where it would open";
    if (!why.empty()) {
      fail(closed + " and cannot be opened by a signal: " + why, {}, "start it with --inspect-port=0 or --inspect");
      return false;
    }
    if (!options.act) {
      fail(closed, {},
           "act=true opens it by SIGUSR1 for the moment of the dump (on port " + std::to_string(asked.expected()) +
               ", without a password, for every user of this machine) and closes it again");
      return false;
    }
    const auto action = ask_signal_action(process, SIGUSR1, fence, why);
    if (!action) {
      fail(closed + ", and it is not known who would answer SIGUSR1: " + why);
      return false;
    }
    // Node's own handler asks for no restart of calls, and libuv's, which serves process.on(), does; another's lies
    // elsewhere.
    const bool own = action->handler >= module_.low && action->handler < module_.high && !(action->flags & SA_RESTART);
    if (!own) {
      fail(closed + ", and the program has a handler of its own for SIGUSR1, which would run instead", {},
           "start it with --inspect-port=0 and --inspect");
      return false;
    }
    if (::syscall(SYS_pidfd_send_signal, process.pidfd, SIGUSR1, nullptr, 0) != 0) {
      if (errno == EPERM)
        fail(closed + ", and hatchd may not send SIGUSR1", {"CAP_KILL"},
             "give hatchd CAP_KILL, or run it as the target's user", Trouble::Kind::rights);
      else
        fail(closed + ", and SIGUSR1 could not be sent: " + std::strerror(errno));
      return false;
    }
    opened_ = fence.tidying = true;
    return wait_for_opening(inspector, before);
  }

  // The socket that was not there before.
  bool wait_for_opening(Inspector& inspector, const Listeners& before) {
    const auto deadline = Clock::now() + opening_limit;
    std::vector<std::uint64_t> known;
    for (const Listener& listener : before.own) known.push_back(listener.inode);
    do {
      for (const Listener& listener : find_listeners(subject_.process, subject_.living).own) {
        if (std::find(known.begin(), known.end(), listener.inode) != known.end()) continue;
        if (try_one(inspector, listener)) return true;
        known.push_back(listener.inode);  // the app's
      }
      std::this_thread::sleep_for(500us);
    } while (Clock::now() < deadline);
    fail("Node did not open its inspector within " + std::to_string(std::chrono::milliseconds{opening_limit}.count()) +
             " ms after SIGUSR1; it may do so later, when its main thread leaves native code, and stay open",
         {}, "see what the target wrote to its standard error");
    return false;
  }

  void close(Inspector& inspector) {
    const auto is_open = [&] {
      const Listeners now = find_listeners(subject_.process, subject_.living);
      return std::any_of(now.own.begin(), now.own.end(),
                         [&](const Listener& listener) { return listener.inode == listener_.inode; });
    };
    inspector.end_debugging(listener_.endpoint);
    bool open = is_open();
    for (const auto deadline = Clock::now() + closing_limit; open && Clock::now() < deadline; open = is_open())
      std::this_thread::sleep_for(500us);
    inspector_.add("closed", !open);
    if (open)
      add_note("the inspector that was opened on " + listener_.endpoint.text +
               " could not be closed: any user of this machine can run code in the target through it until it ends");
  }

  const Subject subject_;
  const Module& module_;
  std::optional<Trouble> trouble_;
  std::string note_, version_;
  hatch::Object inspector_;
  Listener listener_;
  std::vector<Agent> agents_;
  bool opened_ = false, read_ = false;
};

bool is_node_library(std::string_view name) { return name.starts_with("libnode.so"); }
bool is_node_program(std::string_view name) { return name == "node" || name == "nodejs" || name == "iojs"; }

// Node exports its API for addons, also from a program that embeds it or is made of it, under whatever name.
bool embeds_node(const Module& module) {
  return module.file && module.name() != "bun" &&
         exports_symbol(module.file.get(), "_ZN4node15FreeIsolateDataEPNS_11IsolateDataE");
}

Frame frame_of(std::string_view call, const Agent& agent) {
  Frame frame;
  frame.kind = "node";
  frame.function = text_of(member(call, "functionName"), max_name);
  if (frame.function.empty()) frame.function = "(anonymous)";
  frame.file = url_of(call, agent);
  if (frame.file.starts_with("file://")) frame.file.erase(0, 7);
  // A Debugger.paused has places by script, an asynchronous stack has them in the frame itself.
  const std::string_view location = member(call, "location");
  const auto line = number_of(member(location.empty() ? call : location, "lineNumber"));
  if (line && *line >= 0 && *line < 1'000'000'000) frame.line = static_cast<int>(*line) + 1;  // counted from 0
  return frame;
}

// "[worker 2]": the number that the program knows as threadId; what the inspector counts by itself is another.
std::string id_of(const Agent& worker) {
  constexpr std::string_view prefix = "[worker ";
  std::string digits = worker.worker_id;
  if (worker.title.starts_with(prefix))
    digits =
        worker.title.substr(prefix.size(), worker.title.find_first_not_of("0123456789", prefix.size()) - prefix.size());
  return "worker " + digits;
}

}  // namespace

RuntimeThread show_agent(const Agent& agent, pid_t main, unsigned max_frames, FrameTable& frames) {
  RuntimeThread thread;
  if (agent.session.empty()) {
    thread.tid = main;
    thread.name = "main";
  } else {
    thread.id = id_of(agent);
    thread.name = agent.title;
    if (!agent.url.empty()) {
      std::string url;
      hatch::append_quoted(url, agent.url.starts_with("file://") ? agent.url.substr(7) : agent.url);
      thread.members.emplace_back("script", url);
    }
  }
  thread.error = agent.error;
  if (agent.held_by_other) thread.state = "paused by another debugger";
  const auto add = [&](Frame frame) {
    if (thread.frames.size() >= max_frames) return thread.truncated = true, false;
    thread.frames.push_back(frames.add(std::move(frame)));
    return true;
  };
  bool more = true;
  if (!agent.idle)
    each_element(member(agent.paused, "callFrames"), [&](std::string_view call) {
      if (Frame frame = frame_of(call, agent); frame.file != probe_url) more = add(std::move(frame));
      return more;
    });
  // What awaits this, where a debugger had asked for it to be kept (Debugger.setAsyncCallStackDepth).
  constexpr int max_parents = 32;
  std::string_view parent = member(agent.paused, "asyncStackTrace");
  for (int i = 0; i < max_parents && more && !parent.empty() && !agent.idle; ++i, parent = member(parent, "parent")) {
    Frame mark;
    mark.kind = "node";
    mark.function = "(async: " + text_of(member(parent, "description"), 64) + ")";
    bool first = true;
    each_element(member(parent, "callFrames"), [&](std::string_view call) {
      if (std::exchange(first, false)) more = add(mark);
      more = more && add(frame_of(call, agent));
      return more;
    });
  }
  if (agent.idle) {
    thread.state = "idle";
    thread.waiting_on = "the event loop";
    if (!agent.resources.empty()) thread.members.emplace_back("active_resources", agent.resources);
  } else if (!thread.frames.empty() && thread.state.empty()) {
    thread.state = "running JavaScript";
    thread.running = true;
  }
  return thread;
}

}  // namespace node

std::unique_ptr<RuntimeReader> detect_node(const Subject& subject) {
  // Debian's nodejs is a small program on top of a library; elsewhere all is in the program.
  for (const auto is_node : {node::is_node_library, node::is_node_program})
    for (const Module& module : subject.modules)
      if (is_node(module.name())) return std::make_unique<node::NodeReader>(subject, module);
  // The lowest is the program (ld.so(8) and libraries are mapped above).
  if (!subject.modules.empty() && node::embeds_node(subject.modules.front()))
    return std::make_unique<node::NodeReader>(subject, subject.modules.front());
  return nullptr;
}

}  // namespace stack
