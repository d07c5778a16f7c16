#include "worker/serve.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "link/protocol.hpp"
#include "worker/plugin.hpp"
#include "worker/runs.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

int failed(link::Channel& supervisor, const Problem& problem) {
  supervisor.send("failed", {{"problem", to_json(problem)}});
  return link::exit_setup;
}

rights::Filter filter_of(const json::object& setup) {
  return flag_of(setup, "launcher") ? rights::Filter::launcher : rights::Filter::plugin;
}

Result<Plugin> open_undumpable(UniqueFd& object) {
  auto plugin = Plugin::open(object.get());
  if (auto done = rights::make_undumpable(); !done) return tl::unexpected<Problem>(done.error());
  object.reset();
  return plugin;
}

// The order matters: rights go before foreign code comes, and only a dumpable process may reopen its own descriptors.
Result<Plugin> open_lowered(link::Message& setup) {
  if (setup.fds.empty()) return refuse("internal", "setup came without the plugin's object");
  const pid_t parent = ::getppid();
  if (auto done = rights::lower(rights::rights_of(setup.body), filter_of(setup.body), parent, true); !done)
    return tl::unexpected<Problem>(done.error());
  return open_undumpable(setup.fds.front());
}

// Where memory runs out the kernel takes a run, whose loss is recorded, before the processes that record it. Inherited by
// runs. It takes no right, but where this process may not write to its own files of /proc, it is left as it is.
void first_to_go() {
  const UniqueFd file{::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)};
  if (file) (void)write_all(file.get(), "1000");
}

// Moves the profiles out: one copy of their secrets is enough.
Allowance allowance_of(json::object& setup, const Plugin& plugin) {
  Allowance allowance;
  if (const json::object* hatches = object_of(setup, "hatches"))
    for (const auto& [key, value] : *hatches) {
      const json::object* limits = value.if_object();
      if (!limits) continue;
      const auto timeout = std::clamp<std::int64_t>(number_of(*limits, "timeout_ms", 30'000), 1, 24 * 3600 * 1000);
      const auto pause = std::clamp<std::int64_t>(number_of(*limits, "max_pause_us"), 0, 3600LL * 1'000'000);
      allowance.hatches[key] = {std::chrono::milliseconds(timeout), static_cast<std::uint64_t>(pause),
                                flag_of(*limits, "named")};
      const std::string from = text_of(*limits, "template");
      const Hatch* hatch = from.empty() ? nullptr : plugin.find(from);
      const json::object* parameters = object_of(*limits, "parameters");
      const json::object* configuration = object_of(*limits, "configuration");
      if (!hatch || !parameters || !configuration) continue;
      Allowance::Derived& derived = allowance.derived[key];
      derived = {*hatch, *configuration};
      derived.hatch.id = key;
      derived.hatch.parameters = *parameters;
    }
  if (const json::object* configuration = object_of(setup, "configuration")) allowance.configuration = *configuration;
  if (const json::object* logs = object_of(setup, "logs")) allowance.logs = *logs;
  if (json::value* profiles = setup.if_contains("profiles"); profiles && profiles->is_object())
    allowance.profiles = std::move(profiles->get_object());
  allowance.filter = filter_of(setup);
  allowance.targets = texts_of(setup, "targets");
  allowance.max_runs = static_cast<std::size_t>(std::clamp<std::int64_t>(number_of(setup, "max_runs", 64), 1, 1000));
  allowance.grace = std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(setup, "grace_ms", 2000), 0, 60'000));
  return allowance;
}

// A library that was opened may have set handlers of its own; runs are to begin without them. Here and not in each run,
// since no code of the plugin runs in between.
void own_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE}) ::signal(number, SIG_IGN);
}

UniqueFd watch_signals() {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  return UniqueFd{::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK)};
}

class Server {
 public:
  Server(link::Channel& supervisor, link::Channel& front, int signals, Runs& runs, std::chrono::milliseconds idle,
         std::chrono::milliseconds grace)
      : supervisor_(supervisor), front_(front), signals_(signals), runs_(runs), idle_(idle), grace_(grace) {}

  int serve() {
    SteadyTime idle_since = std::chrono::steady_clock::now();
    for (;;) {
      SteadyTime next = runs_.tick();
      const SteadyTime now = std::chrono::steady_clock::now();
      if (!runs_.empty()) {
        idle_since = now;
      } else if (leaving_) {
        return status_;
      } else if (retiring_) {
        // The front stopped sending before the supervisor said so: what it sent is here, or will not come.
        read(front_, &Server::front_says);
        if (runs_.empty()) return 0;
        continue;
      } else if (now - idle_since >= idle_) {
        return link::exit_idle;
      } else {
        next = std::min(next, idle_since + idle_);
      }
      wait(next);
    }
  }

 private:
  void wait(SteadyTime until) {
    std::vector<pollfd> entries{{front_.fd(), POLLIN, 0},
                                {supervisor_.fd(), POLLIN, 0},
                                {signals_, POLLIN, 0},
                                {runs_.targets_fd(), POLLIN, 0}};
    const std::size_t own = entries.size();
    runs_.add_fds(entries);
    int timeout = -1;
    if (until != SteadyTime::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    }
    if (::poll(entries.data(), entries.size(), timeout) <= 0) return;
    if (std::any_of(entries.begin() + own, entries.end(), [](const pollfd& entry) { return entry.revents != 0; }))
      runs_.read_fds();
    if (entries[2].revents) read_signals();
    if (entries[3].revents && runs_.targets_fd() == entries[3].fd) runs_.read_targets();
    if (entries[1].revents) read(supervisor_, &Server::supervisor_says);
    if (entries[0].revents) read(front_, &Server::front_says);
  }

  // A bounded number of messages, so that one busy channel does not starve the others.
  void read(link::Channel& channel, void (Server::*says)(link::Message&)) {
    for (int i = 0; i < 32; ++i) {
      link::Message message;
      switch (channel.receive(message)) {
        case link::Received::nothing: return;
        case link::Received::message: (this->*says)(message); break;
        case link::Received::ended:
        case link::Received::broken:
          // Nobody is left to ask for runs or to hear of them.
          channel.close();
          return leave(link::exit_parent_gone, {});
      }
    }
  }

  void supervisor_says(link::Message& message) {
    if (message.type == "stop") {
      leave(0,
            std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(message.body, "grace_ms", 2000), 1, 60'000)));
    } else if (message.type == "retire") {
      retiring_ = true;
    } else if (message.type == "targets" && !message.fds.empty()) {
      runs_.use_targets(link::Channel{std::move(message.fds.front())});
    } else {
      unknown("supervisor", message.type);
    }
  }

  void front_says(link::Message& message) {
    if (message.type == "start")
      runs_.start(message);
    else if (message.type == "cancel")
      runs_.cancel(text_of(message.body, "run"));
    else
      unknown("front", message.type);
  }

  void unknown(const char* who, const std::string& type) {
    if (!std::exchange(warned_, true)) log::warning("message of an unknown type", {{"from", who}, {"type", type}});
  }

  void read_signals() {
    signalfd_siginfo info{};
    while (::read(signals_, &info, sizeof info) == sizeof info)
      if (info.ssi_signo == SIGTERM) leave(0, grace_);
    runs_.children_changed();
  }

  void leave(int status, std::chrono::milliseconds grace) {
    if (!leaving_) status_ = status;
    leaving_ = true;
    runs_.stop(grace);
  }

  link::Channel& supervisor_;
  link::Channel& front_;
  int signals_;
  Runs& runs_;
  std::chrono::milliseconds idle_, grace_;
  bool leaving_ = false, retiring_ = false, warned_ = false;
  int status_ = 0;
};

}  // namespace

int read_manifest(link::Channel& supervisor, link::Message& setup) {
  const auto plugin = open_lowered(setup);
  if (!plugin) return failed(supervisor, plugin.error());
  supervisor.send("manifest", plugin->manifest());
  return 0;
}

int read_manifests(link::Channel& supervisor, link::Message& setup) {
  // Lowered once, before the first plugin's code comes, and undumpable, so that no plugin gets at us or at another's child.
  if (auto done = rights::lower(rights::rights_of(setup.body), filter_of(setup.body), ::getppid()); !done)
    return failed(supervisor, done.error());
  const std::vector<std::string> names = texts_of(setup.body, "names");
  const pid_t parent = ::getpid();
  std::map<pid_t, std::size_t> children;  // → index of the channel
  for (std::size_t i = 0; i + 1 < setup.fds.size(); i += 2) {
    const pid_t pid = ::fork();
    if (pid != 0) {
      if (pid > 0) children[pid] = i + 1;
      setup.fds[i].reset();
      if (pid < 0) setup.fds[i + 1].reset();
      continue;
    }
    UniqueFd object{std::move(setup.fds[i])};
    link::Channel answer{std::move(setup.fds[i + 1])};
    // What others say is not this plugin's to say.
    setup.fds.clear();
    supervisor.close();
    rights::set_title("hatchd: manifest " + (i / 2 < names.size() ? names[i / 2] : ""));
    if (auto done = rights::die_with(parent); !done) return failed(answer, done.error());
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return link::exit_setup;  // to reopen its own descriptor
    const auto plugin = open_undumpable(object);
    if (!plugin) return failed(answer, plugin.error());
    answer.send("manifest", plugin->manifest());
    return 0;
  }
  int status = 0;
  for (pid_t pid = 0; !children.empty() && (pid = ::waitpid(-1, &status, 0)) > 0;) {
    const auto child = children.find(pid);
    if (child == children.end()) continue;
    // Read after what the child said itself, if it did.
    link::Channel answer{std::move(setup.fds[child->second])};
    answer.send("ended",
                {{"how", WIFSIGNALED(status) ? "signal" : "exit"},
                 {"status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)}},
                {}, 0);
    children.erase(child);
  }
  return 0;
}

int serve_plugin(link::Channel& supervisor, link::Message& setup) {
  raise_descriptor_limit();  // Each run in its opening phase may hold two descriptors for each of 64 processes
  if (setup.fds.size() < 3) return failed(supervisor, Problem{"internal", "setup came without its channels"});
  first_to_go();
  // What a run leaves behind becomes our child and not init's.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

  auto plugin = open_lowered(setup);
  if (!plugin) return failed(supervisor, plugin.error());
  if (const std::string name = text_of(setup.body, "plugin"); name != plugin->name())
    return failed(supervisor,
                  Problem{"plugin-broken", "it calls itself " + plugin->name() + " and not " + name + " any more"});

  mask::use(setup.body);
  Allowance allowance = allowance_of(setup.body, *plugin);
  const auto grace = allowance.grace;
  const std::chrono::milliseconds idle{std::max<std::int64_t>(1, number_of(setup.body, "idle_ms", 600'000))};
  link::Channel front{std::move(setup.fds[1])};
  link::Channel targets{std::move(setup.fds[2])};
  if (flag_of(setup.body, "cache") && setup.fds.size() > 3) allowance.cache = std::move(setup.fds[3]);
  own_signals();
  const UniqueFd signals = watch_signals();
  if (!signals) return failed(supervisor, Problem{"internal", "signalfd: " + errno_text(errno)});

  setup = {};
  Runs runs{*plugin, std::move(allowance), front, {supervisor.fd(), signals.get()}};
  runs.use_targets(std::move(targets));
  supervisor.send("ready", {});
  return Server{supervisor, front, signals.get(), runs, idle, grace}.serve();
}

}  // namespace hatchd::worker
