#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <set>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "link/protocol.hpp"
#include "targets/files.hpp"
#include "targets/registry.hpp"
#include "targets/targets.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

constexpr std::size_t max_clients = 64;
constexpr std::size_t max_command_main = 16 * 1024;
constexpr std::size_t max_command_other = 1024;
// One answer stays well below what a message may hold; hostile command lines of many processes do not make it fail.
constexpr std::size_t max_told = 4 * 1024 * 1024;
// Whoever does not take his answers holds up everybody else.
constexpr int patience_ms = 200;

struct Client {
  link::Channel channel;
  std::string plugin;             // empty: the front, which may list alone
  std::set<std::string> allowed;  // targets; "*" stands for those that the configuration's "*" makes
  bool environment = false, log = false;
  bool complained = false;
};

class Server {
 public:
  Server(link::Channel& supervisor, Registry registry) : supervisor_(supervisor), registry_(std::move(registry)) {}

  void add(Client client) {
    if (clients_.size() >= max_clients) return log::warning("too many clients", {{"plugin", client.plugin}});
    clients_.push_back(std::move(client));
  }

  int run() {
    for (;;) {
      std::vector<pollfd> entries{{supervisor_.fd(), POLLIN, 0}};
      for (const Client& client : clients_) entries.push_back({client.channel.fd(), POLLIN, 0});
      if (::poll(entries.data(), entries.size(), -1) < 0) {
        if (errno == EINTR) continue;
        log::error("poll failed", {{"errno", errno}});
        return link::exit_bug;
      }
      // The supervisor first: who asks for a target that a new configuration brought comes after that configuration.
      if (const auto status = obey()) return *status;
      for (std::size_t i = 1; i < entries.size(); ++i)
        if (entries[i].revents != 0) attend(clients_[i - 1]);
      std::erase_if(clients_, [](const Client& client) { return !client.channel; });
    }
  }

 private:
  // What the supervisor says; an exit status when it was the last.
  std::optional<int> obey() {
    for (;;) {
      link::Message message;
      switch (supervisor_.receive(message)) {
        case link::Received::nothing: return std::nullopt;
        case link::Received::ended:
        case link::Received::broken: return link::exit_parent_gone;
        case link::Received::message: break;
      }
      const json::object* targets = object_of(message.body, "targets");
      if (message.type == "stop") return 0;
      if (message.type == "configure" && targets) {
        registry_.reconfigure(*targets);
        mask::use(message.body);
      } else if (message.type == "serve" && !message.fds.empty()) {
        add(client_of(message));
      } else {
        log::warning("message out of turn", {{"type", message.type}});
      }
    }
  }

  static Client client_of(link::Message& message) {
    Client client;
    client.channel = link::Channel(std::move(message.fds.front()));
    if (text_of(message.body, "as") == "plugin") {
      client.plugin = text_of(message.body, "plugin", "?");
      for (std::string& name : texts_of(message.body, "targets")) client.allowed.insert(std::move(name));
      client.environment = flag_of(message.body, "environment");
      client.log = flag_of(message.body, "log");
    }
    return client;
  }

  // One message of a client, so that none can keep the others waiting by writing much.
  void attend(Client& client) {
    link::Message message;
    switch (client.channel.receive(message)) {
      case link::Received::nothing: return;
      case link::Received::broken:
        log::warning("a client sent no message", {{"plugin", client.plugin}});
        [[fallthrough]];
      case link::Received::ended: return client.channel.close();
      case link::Received::message: break;
    }
    bool sent = true;
    const bool plugin = !client.plugin.empty();
    if (message.type == "list")
      sent = list(client, message.body);
    else if (message.type == "open" && plugin)
      sent = open(client, message.body);
    else if (message.type == "file" && plugin)
      sent = file(client, message.body);
    else if (!std::exchange(client.complained, true))
      log::warning("message out of turn", {{"type", message.type}, {"plugin", client.plugin}});
    if (!sent) {
      log::warning("a client does not take its answers", {{"plugin", client.plugin}});
      client.channel.close();
    }
  }

  bool may(const Client& client, const std::string& name) const {
    return client.plugin.empty() || client.allowed.contains(name) ||
           (registry_.from_pattern(name) && client.allowed.contains("*"));
  }

  static json::object answer(const json::object& request) {
    json::object out;
    if (const json::value* tag = request.if_contains("tag");
        tag && (tag->is_int64() || tag->is_uint64() || tag->is_string()))
      out["tag"] = *tag;
    return out;
  }

  static bool send_refusal(Client& client, const json::object& request, const Problem& problem) {
    json::object out = answer(request);
    out["problem"] = to_json(problem);
    return client.channel.send("refused", std::move(out), {}, patience_ms);
  }

  static std::size_t size_of(const json::object& facts) {
    std::size_t size = 512 + text_of(facts, "executable").size();
    for (const std::string& argument : texts_of(facts, "command")) size += argument.size() + 8;
    return size;
  }

  static json::object tell(Target& target, std::size_t& told) {
    json::object out;
    const std::vector<Held*> living = target.living();
    out["name"] = target.name();
    out["match"] = target.match();
    out["state"] = target.state() == Target::State::up          ? "up"
                   : target.state() == Target::State::ambiguous ? "ambiguous"
                                                                : "gone";
    if (target.state() != Target::State::up) out["problem"] = to_json(target.problem());
    json::array processes;
    for (std::size_t i = 0; i < living.size() && (i == 0 || told < max_told); ++i) {
      json::object one = facts(*living[i], i == 0,
                               told >= max_told ? 0
                               : i == 0         ? max_command_main
                                                : max_command_other);
      told += size_of(one);
      processes.push_back(std::move(one));
    }
    out["processes"] = std::move(processes);
    out["counted"] = std::max(target.counted(), living.size());
    return out;
  }

  bool list(Client& client, const json::object& request) {
    json::array targets;
    std::size_t told = 0;
    if (request.contains("target")) {
      const std::string name = text_of(request, "target");
      Target* target = registry_.get(name);
      if (target && may(client, name)) targets.push_back(tell(*target, told));
    } else {
      for (Target* target : registry_.all())
        if (may(client, target->name())) targets.push_back(tell(*target, told));
    }
    json::object out = answer(request);
    out["targets"] = std::move(targets);
    return client.channel.send("listed", std::move(out), {}, patience_ms);
  }

  // The target that a plugin asks for, with its living processes; the reason when there are none.
  Result<std::pair<Target*, std::vector<Held*>>> reach(const Client& client, const json::object& request) {
    const std::string name = text_of(request, "target");
    Target* target = registry_.get(name);
    if (!target || !may(client, name))
      return refuse("target-unknown", "there is no target of this name for plugin " + client.plugin);
    std::vector<Held*> living = target->living();
    if (living.empty()) return tl::unexpected(target->problem());
    return std::pair(target, std::move(living));
  }

  bool open(Client& client, const json::object& request) {
    auto reached = reach(client, request);
    if (!reached) return send_refusal(client, request, reached.error());
    auto& [target, living] = *reached;
    const std::string which = text_of(request, "processes", "all");
    const Held* const main = living.front();
    if (which == "main") {
      living.resize(1);
    } else if (which != "all") {
      const auto wanted = std::find_if(living.begin(), living.end(),
                                       [&](const Held* held) { return std::to_string(held->process.pid()) == which; });
      if (wanted == living.end()) {
        Problem problem{"target-gone", "target " + target->name() + " has no such process"};
        for (const Held* held : living) problem.candidates.push_back(std::to_string(held->process.pid()));
        return send_refusal(client, request, problem);
      }
      living = {*wanted};
    }
    json::object out = answer(request);
    json::array processes;
    std::vector<int> fds;
    for (Held* held : living) {
      processes.push_back(facts(*held, held == main, held == main ? max_command_main : max_command_other));
      fds.push_back(held->process.pidfd());
      fds.push_back(held->process.directory());
    }
    out["target"] = target->name();
    out["processes"] = std::move(processes);
    out["counted"] = std::max(target->counted(), living.size());
    return client.channel.send("opened", std::move(out), fds, patience_ms);
  }

  bool file(Client& client, const json::object& request) {
    auto reached = reach(client, request);
    if (!reached) return send_refusal(client, request, reached.error());
    const auto& [target, living] = *reached;
    const auto pid = number_of(request, "pid");
    const auto ticks = static_cast<std::uint64_t>(number_of(request, "started_ticks"));
    const auto held = std::find_if(living.begin(), living.end(), [&](const Held* one) {
      return one->process.pid() == pid && one->process.started_ticks() == ticks;
    });
    if (held == living.end())
      return send_refusal(client, request, {"target-gone", "this process of target " + target->name() + " has ended"});
    const std::string what = text_of(request, "file");
    if ((what == "environment" && !client.environment) || (what == "log" && !client.log))
      return send_refusal(
          client, request,
          {"rights-missing", "no hatch of plugin " + client.plugin + " declares that it reads the target's " + what});
    const auto opened = open_file(*target, (*held)->process, what);
    if (!opened) return send_refusal(client, request, opened.error());
    const int fd = opened->get();
    return client.channel.send("file", answer(request), {&fd, 1}, patience_ms);
  }

  link::Channel& supervisor_;
  Registry registry_;
  std::vector<Client> clients_;
};

}  // namespace

int serve(link::Channel& supervisor, link::Message& setup) {
  const pid_t parent = ::getppid();
  if (auto lowered = rights::lower(rights::rights_of(setup.body), rights::Filter::targets, parent); !lowered) {
    supervisor.send("failed", {{"problem", to_json(lowered.error())}});
    return link::exit_setup;
  }
  mask::use(setup.body);
  raise_descriptor_limit();  // Two descriptors for each process held
  const std::vector<std::string> had = rights::capabilities();
  const bool privileged = std::find(had.begin(), had.end(), "sys_ptrace") != had.end();
  const json::object none;
  const json::object* targets = object_of(setup.body, "targets");
  Server server(supervisor, Registry(targets ? *targets : none, privileged, {::getpid(), parent}));
  if (!setup.fds.empty()) {
    Client front;
    front.channel = link::Channel(std::move(setup.fds.front()));
    server.add(std::move(front));
  }
  if (!supervisor.send("ready")) return link::exit_parent_gone;
  return server.run();
}

}  // namespace hatchd::targets
