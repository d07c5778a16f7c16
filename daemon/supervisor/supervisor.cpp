#include "supervisor/supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "audit/journal.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/mask.hpp"
#include "base/program.hpp"
#include "base/rights.hpp"
#include "config/peers.hpp"
#include "config/recipes.hpp"
#include "config/tls.hpp"
#include "http/tls.hpp"
#include "link/protocol.hpp"
#include "supervisor/audit_folder.hpp"
#include "supervisor/check.hpp"
#include "supervisor/logs.hpp"
#include "supervisor/memory_limit.hpp"
#include "supervisor/plugins.hpp"
#include "supervisor/recipes.hpp"
#include "supervisor/reload.hpp"
#include "supervisor/spawn.hpp"
#include "supervisor/systemd.hpp"
#include "supervisor/users.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

constexpr auto served_well = 1min;  // a process that lived this long starts again without delay
constexpr auto idle_limit = 10min;  // a plugin process without a run leaves
constexpr auto run_grace = 2s;      // between asking a run to stop and killing it
constexpr auto last_grace = 1s;     // for targets and plugin processes, when the front has gone

// A process that should be there: `front`, `targets`, or one plugin.
struct Child {
  enum class Kind { front, targets, plugin } kind;
  std::string name;   // the plugin's; else the kind
  Spawned process{};  // pid -1: not running
  Clock::time_point started{};
  unsigned failures = 0;                       // endings in a row that were not idleness
  std::optional<Clock::time_point> restart{};  // not before
  bool asked = false;                          // plugins: the front waits for one
  bool retired = false;                        // plugins: ends with its last run, a new process has taken its place

  bool running() const { return process.pid > 0; }
};

class Supervisor {
 public:
  explicit Supervisor(Service service) : service_(std::move(service)) {}

  int run() {
    rights::set_title("hatchd");
    if (!block_signals()) return 70;
    // What a run forked and its plugin process could not end any more becomes ours, and ends with end_orphans().
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    // Until our rights are lowered as well no process of our user may look into us.
    if (auto done = rights::make_undumpable(); !done) return give_up(done.error());
    // Its program is loaded, which takes as long as all that we do until it is told what to do.
    const bool loading = launch(front_);
    if (auto done = prepare(); !done) return give_up(done.error());
    auto listeners = bind_all(service_.config.listen, std::move(systemd_.sockets()));
    if (!listeners) return give_up(listeners.error(), 69);
    listeners_ = std::move(*listeners);
    // The front answers probes, and keeps whoever asks for more waiting, while we read what plugins say of themselves.
    // Until our rights are lowered as well we hear nothing that it says.
    if (loading) set_up_front();
    read_plugins();
    if (const std::vector<std::string> taken = taken_places(); !taken.empty())
      return give_up(refuse("internal", told_front(taken), "hatchd check lists everything that is wrong").value(), 78);
    if (auto done = lower_self(); !done) return give_up(done.error());
    // From here on we hold no more than what we hand out, and only our own children tell us anything.
    start(targets_);
    plugins_known_ = true;
    begin_front();
    while (!finished()) turn();
    for (int i = 0; end_orphans() && i < 100; ++i) ::usleep(10'000);
    unbind(listeners_);
    log::info("stopped");
    return exit_status_;
  }

 private:
  // ---- before anything runs
  // --------------------------------------------------------------------------------------------

  bool block_signals() {
    sigset_t handled;
    sigemptyset(&handled);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&handled, number);
    ::signal(SIGPIPE, SIG_IGN);
    if (::sigprocmask(SIG_BLOCK, &handled, nullptr) != 0) return false;
    signals_ = UniqueFd{::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK)};
    return static_cast<bool>(signals_);
  }

  Result<void> prepare() {
    auto worker = worker_program();
    if (!worker) return tl::unexpected(worker.error());
    worker_ = *worker;
    auto identities = choose_identities(service_.config.users, service_.config.runs.directory + "/runs");
    if (!identities) return tl::unexpected(identities.error());
    identities_ = *identities;
    if (identities_.transient)
      log::info("processes get ids without a name, since the users of the configuration do not exist",
                {{"front", *identities_.front.uid},
                 {"targets", *identities_.targets.uid},
                 {"plugins", *identities_.plugins.uid}});
    if (auto done = open_folders(); !done) return done;
    peers_ = config::look_up_peers(service_.config.access);
    warn_of(peers_.unknown);
    warn_of(peers_.unanswered);
    for (const FieldError& error : load_tls(service_.config, tls_))
      return refuse("internal", error.pointer + " " + error.detail, "hatchd check lists everything that is wrong");
    return {};
  }

  void read_plugins() {
    plugins_ = load_plugins(service_.config, plugin_directories(service_.config), worker_, identities_.plugins);
    catalogue_ = catalogue(plugins_, service_.config);
    warn_of_recipes(service_.config);
  }

  // What the text of the configuration could not tell before the plugins were asked, with the place where it stands.
  std::vector<std::string> taken_places() const {
    std::vector<std::string> places;
    const std::vector<FieldError> taken = taken_ids(plugins_, service_.config);
    if (taken.empty()) return places;
    const config::Loaded written = service_.load ? service_.load() : config::Loaded{};
    for (const FieldError& error : taken) places.push_back(config::to_string(config::fault_at(written, error)));
    return places;
  }

  // The runs folder is the front's, the cache folder inside it the plugins'; both hand on as descriptors, so neither
  // needs a path.
  Result<void> open_folders() {
    const std::string& directory = service_.config.runs.directory;
    const std::string cache = directory + "/cache";
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    // Two daemons in one folder would take each other's runs for crashed ones.
    lock_ = UniqueFd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (lock_ && ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
      return refuse("internal", directory + " is in use by another hatchd",
                    "stop that one, or set another runs.directory");
    if (error)
      return refuse("internal", directory + ": " + error.message(),
                    "create it for the user that hatchd runs as, or set runs.directory");
    ::mkdir((directory + "/runs").c_str(), 0700);
    ::mkdir(cache.c_str(), 0700);
    if (auto done = give_to(directory + "/runs", identities_.front); !done) return done;
    if (auto done = give_to(cache, identities_.plugins); !done) return done;
    runs_ = UniqueFd{::open((directory + "/runs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    cache_ = UniqueFd{::open(cache.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!runs_ || !cache_) return refuse("internal", directory + ": " + errno_text(errno));
    auto audit = open_audit_folder(service_.config, identities_.front);
    if (!audit) return tl::unexpected(audit.error());
    audit_ = std::move(*audit);
    return {};
  }

  // We keep what we need for our own work (as root) and what we hand out; the rest goes now.
  Result<void> lower_self() {
    std::vector<std::string> kept{"sys_ptrace", "dac_read_search"};  // targets
    for (const auto& [name, plugin] : plugins_)
      kept.insert(kept.end(), plugin.capabilities.begin(), plugin.capabilities.end());
    if (identities_.front.uid) {
      // setuid, setgid, setpcap: lowering children; kill: ending them under their own ids; chown, fowner,
      // dac_override: the folders and sockets that are theirs.
      for (const char* name : {"setuid", "setgid", "setpcap", "kill", "chown", "fowner", "dac_override"})
        kept.emplace_back(name);
    }
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    return rights::lower_supervisor(kept);
  }

  int give_up(const Problem& problem, int status = 70) {
    log::error("cannot start", {{"why", problem.detail}, {"remedy", problem.remedy}});
    systemd_.status("Cannot start: " + problem.detail);
    if (front_.running()) {  // it has begun nothing that would have to be ended in order
      ::kill(front_.process.pid, SIGKILL);
      ::waitpid(front_.process.pid, nullptr, 0);
    }
    unbind(listeners_);
    return status;
  }

  // ---- starting
  // ----------------------------------------------------------------------------------------------------------

  void start(Child& child) {
    if (!launch(child)) return;
    switch (child.kind) {
      case Child::Kind::front: return set_up_front();
      case Child::Kind::targets: return set_up_targets();
      case Child::Kind::plugin: return set_up_plugin(child);
    }
  }

  // Its process is there and waits to be set up; otherwise it is tried again later.
  bool launch(Child& child) {
    child.restart.reset();
    child.started = Clock::now();
    const bool front = child.kind == Child::Kind::front;
    const std::string title = "hatchd: " + std::string(child.kind == Child::Kind::plugin ? "plugin " : "") + child.name;
    auto process = spawn(front ? own_program() : worker_, title);
    if (!process) {
      log::error("cannot start a process", {{"process", title}, {"why", process.error().detail}});
      if (child.kind == Child::Kind::plugin) refuse_plugin(child.name, process.error());
      ended_early(child);
      return false;
    }
    child.process = std::move(*process);
    return true;
  }

  void set_up_targets() {
    targets_.process.channel.send(
        "setup",
        {{"role", "targets"},
         {"rights",
          rights::to_json({identities_.targets.uid, identities_.targets.gid, {"sys_ptrace", "dac_read_search"}})},
         {"targets", without_logs(service_.config.targets)},
         {"mask", service_.config.mask}});
    // A restarted one gets its clients again.
    if (front_.running()) introduce(front_, {{"as", "front"}});
    for (const auto& child : plugin_processes_)
      if (child->running()) introduce(*child, plugin_introduction(child->name));
  }

  // What the front gets of a configuration: the same at start and at a reload.
  static json::object for_front(json::object configuration, const config::PeerIds& peers, const config::TlsFiles& tls) {
    // What plugins are told is not the front's business: their profiles hold secrets.
    if (json::value* plugins = configuration.if_contains("plugins"); plugins && plugins->is_object())
      for (auto& entry : plugins->get_object()) {
        json::object kept;
        if (const json::object* plugin = entry.value().if_object())
          for (const char* key : {"enabled", "path"})
            if (const json::value* value = plugin->if_contains(key)) kept[key] = *value;
        entry.value() = std::move(kept);
      }
    if (const json::object* targets = object_of(configuration, "targets"))
      configuration["targets"] = without_logs(*targets);
    // Nor is what recipes send and start; the catalogue has the rest of them.
    if (json::value* hatches = configuration.if_contains("hatches"); hatches && hatches->is_object())
      for (auto& entry : hatches->get_object())
        if (json::object* hatch = entry.value().if_object()) config::strip_recipe(*hatch);
    json::object all{{"configuration", std::move(configuration)}, {"peers", config::to_json(peers)}};
    if (!tls.key.empty()) all["tls"] = {{"certificate", tls.certificate}, {"key", tls.key}};
    return all;
  }

  void set_up_front() {
    json::array listeners;
    std::vector<int> fds{runs_.get(), audit_.get()};
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      const Listener& listener = listeners_[i];
      listeners.push_back(listener.unix_path.empty()
                              ? json::object{{"tcp", listener.tcp}, {"tls", service_.config.listen[i].tls}}
                              : json::object{{"unix", listener.unix_path}});
      fds.push_back(listener.fd.get());
    }
    // The front may make no socket of its own.
    const UniqueFd journal = service_.config.audit.journal ? audit::connect_journal() : UniqueFd{};
    if (journal) fds.push_back(journal.get());
    json::array reserved;
    for (const Identity* identity : {&identities_.front, &identities_.targets, &identities_.plugins})
      reserved.emplace_back(identity->uid ? *identity->uid : ::geteuid());
    json::object setup = for_front(service_.effective, peers_, tls_);
    setup["role"] = "front";
    setup["rights"] = rights::to_json({identities_.front.uid, identities_.front.gid, {}});
    setup["listeners"] = std::move(listeners);
    setup["reserved_uids"] = std::move(reserved);
    setup["admin_uids"] = json::value_from(service_.admin_uids);
    setup["journal"] = static_cast<bool>(journal);
    setup["temporary"] = service_.temporary;
    setup["more_rights"] = service_.more_rights;
    if (memory_limit_) setup["memory_limit"] = *memory_limit_;
    front_.process.channel.send("setup", std::move(setup), fds);
    if (targets_.running()) introduce(front_, {{"as", "front"}});
    if (plugins_known_) begin_front();
  }

  // After its introduction to targets: what waited for the catalogue may ask for one. Without it a front would keep
  // everybody waiting, so one that cannot be told is ended, and the next one is.
  void begin_front() {
    if (front_.running() && !front_.process.channel.send("catalogue", {{"catalogue", catalogue_}}))
      ::kill(front_.process.pid, SIGKILL);
  }

  static bool has_flag(const LoadedPlugin& plugin, std::string_view wanted) {
    if (const json::array* hatches = array_of(plugin.manifest, "hatches"))
      for (const json::value& hatch : *hatches)
        for (const std::string& flag : texts_of(hatch.as_object(), "flags"))
          if (flag == wanted) return true;
    return false;
  }

  // What a plugin's process gets of a configuration. A process whose part changes is retired at a reload.
  static json::object for_plugin(const LoadedPlugin& plugin, const json::array& catalogue,
                                 const config::Config& config) {
    json::array names;
    for (const auto& target : config.targets) names.emplace_back(target.key());
    json::object hatches = enabled_hatches(catalogue, plugin.name, config);
    if (plugin.name == recipe_plugin) add_recipes(hatches, config);
    json::object logs = has_flag(plugin, "target-log") ? logs_of(config) : json::object{};
    // Two packaged plugins may start programs: recipes, and app where it reads a log by one.
    const bool launcher =
        plugin.packaged && (plugin.name == recipe_plugin || (plugin.name == "app" && need_programs(logs)));
    return {{"hatches", std::move(hatches)},
            {"configuration", plugin.configuration},
            {"profiles", plugin.profiles},
            {"targets", std::move(names)},
            {"logs", std::move(logs)},
            {"launcher", launcher},
            {"mask", config.mask}};
  }

  void set_up_plugin(Child& child) {
    const LoadedPlugin& plugin = plugins_.at(child.name);
    auto [to_front, of_front] = link::Channel::pair();
    auto [to_targets, of_targets] = link::Channel::pair();
    // A folder of its own in the cache: one plugin's files are not another's.
    UniqueFd cache;
    if (::mkdirat(cache_.get(), child.name.c_str(), 0700) == 0 || errno == EEXIST) {
      if (identities_.plugins.uid)
        (void)!::fchownat(cache_.get(), child.name.c_str(), *identities_.plugins.uid, *identities_.plugins.gid,
                          AT_SYMLINK_NOFOLLOW);
      cache = UniqueFd{::openat(cache_.get(), child.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    }
    std::vector<int> fds{plugin.object->get(), of_front.get(), of_targets.get()};
    if (cache) fds.push_back(cache.get());
    json::object setup = for_plugin(plugin, catalogue_, service_.config);
    setup["role"] = "plugin";
    setup["rights"] = rights::to_json({identities_.plugins.uid, identities_.plugins.gid, plugin.capabilities});
    setup["plugin"] = child.name;
    setup["idle_ms"] = std::chrono::milliseconds(idle_limit).count();
    setup["grace_ms"] = std::chrono::milliseconds(run_grace).count();
    // As many again may be on their way out: the front lets the next begin when a run has answered.
    setup["max_runs"] = 2 * service_.config.runs.concurrency;
    setup["cache"] = static_cast<bool>(cache);
    child.process.channel.send("setup", std::move(setup), fds);
    if (targets_.running()) {
      const int end[] = {to_targets.get()};
      targets_.process.channel.send("serve", plugin_introduction(child.name), end);
    }
    const int end[] = {to_front.get()};
    front_.process.channel.send("plugin", {{"plugin", child.name}, {"pid", child.process.pid}}, end);
  }

  json::object plugin_introduction(const std::string& plugin) {
    json::object introduction{{"as", "plugin"}, {"plugin", plugin}};
    json::array names;
    for (const auto& target : service_.config.targets) names.emplace_back(target.key());
    introduction["targets"] = std::move(names);
    introduction["environment"] = has_flag(plugins_.at(plugin), "environment");
    introduction["log"] = has_flag(plugins_.at(plugin), "target-log");
    return introduction;
  }

  // A fresh channel between `client` and targets.
  void introduce(Child& client, json::object introduction) {
    auto [client_end, targets_end] = link::Channel::pair();
    const int theirs[] = {targets_end.get()};
    targets_.process.channel.send("serve", std::move(introduction), theirs);
    const int ours[] = {client_end.get()};
    client.process.channel.send("targets", {}, ours);
  }

  // ---- the loop
  // ----------------------------------------------------------------------------------------------------------

  std::vector<Child*> all() {
    std::vector<Child*> children{&front_, &targets_};
    for (const auto& child : plugin_processes_) children.push_back(child.get());
    return children;
  }

  void turn() {
    std::vector<pollfd> polled{{signals_.get(), POLLIN, 0}};
    std::vector<Child*> owners{nullptr};
    for (Child* child : all()) {
      if (!child->running()) continue;
      polled.push_back({child->process.pidfd.get(), POLLIN, 0});
      owners.push_back(child);
      if (child->process.channel) {
        polled.push_back({child->process.channel.fd(), POLLIN, 0});
        owners.push_back(child);
      }
    }
    if (::poll(polled.data(), polled.size(), timeout_ms()) < 0 && errno != EINTR) {
      log::error("poll failed", {{"why", errno_text(errno)}});
      ::usleep(100'000);
    }
    if (polled[0].revents) take_signals();
    for (std::size_t i = 1; i < polled.size(); ++i)
      if (polled[i].revents && owners[i]->running() && polled[i].fd != owners[i]->process.pidfd.get())
        listen_to(*owners[i]);
    // Last, so that what a process said before it ended was heard.
    for (std::size_t i = 1; i < polled.size(); ++i)
      if (polled[i].revents && owners[i]->running() && polled[i].fd == owners[i]->process.pidfd.get())
        bury(*owners[i], WNOHANG);
    std::erase_if(plugin_processes_, [](const auto& child) {
      return !child->running() && (child->retired || (!child->restart && !child->asked && child->failures == 0));
    });
    if (std::exchange(orphans_, false)) end_orphans();
    pass_time();
  }

  // Ends what is left of runs whose plugin process was killed, and reaps every child that we did not start. Only what
  // has our name is ended: as a container's first process, or after `app & exec hatchd`, others' processes are our
  // children too, the target among them. True: some are still on their way out.
  bool end_orphans() {
    bool left = false;
    for (const pid_t pid : children_of_this_process()) {
      const auto children = all();
      if (std::any_of(children.begin(), children.end(), [&](Child* child) { return child->process.pid == pid; }))
        continue;
      if (::waitpid(pid, nullptr, WNOHANG) != 0) continue;
      const auto comm = read_file_at(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/comm").c_str(), 64);
      if (!comm || !comm->starts_with("hatchd: ")) continue;
      ::kill(pid, SIGKILL);
      left = true;
    }
    return left;
  }

  int timeout_ms() {
    std::optional<Clock::time_point> next = deadline_;
    if (beat_ && (!next || *beat_ < *next)) next = beat_;
    for (Child* child : all())
      if (child->restart && !is_held(*child) && (!next || *child->restart < *next)) next = child->restart;
    if (!next) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count();
    return left < 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left, 60'000));
  }

  void pass_time() {
    const auto now = Clock::now();
    if (beat_ && now >= *beat_) beat(now);
    if (stopping_ && deadline_ && now >= *deadline_) return next_stage_of_stop();
    if (stopping_) return;
    for (Child* child : all()) {
      if (child->running() || !child->restart || now < *child->restart || is_held(*child)) continue;
      // A plugin process starts again when somebody needs it.
      if (child->kind == Child::Kind::plugin && !child->asked) {
        child->restart.reset();
        continue;
      }
      child->asked = false;
      start(*child);
    }
  }

  // The watchdog is to see a front that hangs, so a beat goes to the front and counts when it comes back.
  void beat(Clock::time_point now) {
    beat_ = now + *systemd_.beat();
    if (front_.running() && announced_ && !stopping_)
      front_.process.channel.send("ping", {}, {}, 0);
    else
      systemd_.alive();
  }

  void take_signals() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) {
        orphans_ = true;  // perhaps; our own children are buried by their descriptors
        continue;
      }
      if (info.ssi_signo == SIGHUP && !service_.ends_with_terminal) {
        begin_reload();
        continue;
      }
      if (stopping_) {  // a second signal means now
        log::warning("ending at once");
        stage_ = Stage::killing;
        kill_all();
      } else {
        log::info("stopping", {{"signal", info.ssi_signo == SIGTERM  ? "TERM"
                                          : info.ssi_signo == SIGINT ? "INT"
                                                                     : "HUP"}});
        begin_stop();
      }
    }
  }

  void listen_to(Child& child) {
    link::Message message;
    // A captured child must not keep us here: a few at a time.
    for (int i = 0; i < 16; ++i) {
      const link::Received received = child.process.channel.receive(message);
      if (received == link::Received::nothing) return;
      if (received == link::Received::broken) {
        log::error("a process speaks nonsense and is ended", {{"process", child.name}});
        ::kill(child.process.pid, SIGKILL);
      }
      if (received != link::Received::message) return child.process.channel.close();
      handle(child, message);
    }
  }

  void handle(Child& child, const link::Message& message) {
    if (message.type == "ready") {
      if (child.kind == Child::Kind::front && !announced_) {
        announced_ = true;
        if (service_.announce) service_.announce(listeners_);
        systemd_.ready(serving());
        if (systemd_.beat()) beat_ = Clock::now();
      }
    } else if (message.type == "pong" && child.kind == Child::Kind::front) {
      systemd_.alive();
    } else if (message.type == "failed") {
      const json::object* problem = object_of(message.body, "problem");
      log::error("a process cannot serve",
                 {{"process", child.name}, {"why", problem ? text_of(*problem, "detail") : ""}});
    } else if (message.type == "plugin" && child.kind == Child::Kind::front) {
      provide(text_of(message.body, "plugin"));
    } else if (message.type == "reloaded" && child.kind == Child::Kind::front && next_) {
      take_over();
    } else if (message.type == "reload-refused" && child.kind == Child::Kind::front && next_) {
      const json::object* problem = object_of(message.body, "problem");
      abandon(problem ? text_of(*problem, "detail") : "the front did not say why");
    } else if (message.type == "stopped" && child.kind == Child::Kind::front) {
      // It exits now; bury() goes on from there.
    } else {
      log::warning("a message out of turn", {{"process", child.name}, {"message", message.type}});
    }
  }

  std::string serving() const {
    const auto count = [](std::size_t number, const char* what) {
      return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
    };
    return "Serving " + count(service_.config.targets.size(), "target") + " on " + count(listeners_.size(), "listener");
  }

  // The front asks for a channel to a plugin. It can only name one; what the plugin may do was settled here.
  void provide(const std::string& name) {
    if (stopping_) return refuse_plugin(name, {"shutting-down", "hatchd is stopping"});
    const auto plugin = plugins_.find(name);
    if (plugin == plugins_.end()) return refuse_plugin(name, {"hatch-unknown", "there is no plugin " + name});
    if (!plugin->second.why_broken.empty()) return refuse_plugin(name, {"plugin-broken", plugin->second.why_broken});
    auto found = std::find_if(plugin_processes_.begin(), plugin_processes_.end(),
                              [&](const auto& child) { return child->name == name && !child->retired; });
    if (found == plugin_processes_.end()) {
      plugin_processes_.push_back(std::make_unique<Child>(Child{.kind = Child::Kind::plugin, .name = name}));
      found = plugin_processes_.end() - 1;
    }
    Child& child = **found;
    if (child.running()) {
      // The front lost its channel, or the process is just leaving: a new one serves.
      ::kill(child.process.pid, SIGKILL);
      bury(child, 0);
    }
    if (is_held(child) || (child.restart && Clock::now() < *child.restart)) {
      child.asked = true;  // served when the back-off has passed
      if (!child.restart) child.restart = Clock::now();
    } else {
      start(child);
    }
  }

  void refuse_plugin(const std::string& name, const Problem& problem) {
    front_.process.channel.send("plugin-refused", {{"plugin", name}, {"problem", to_json(problem)}});
  }

  // ---- reload: all that can fail comes first and changes nothing; then the front takes it over, or says why not; then we
  // --------------------------------------------------------------------------------------------------------------------

  struct Next {
    config::Config config;
    json::object effective;
    config::PeerIds peers;
    Plugins plugins;
    json::array catalogue;
    config::TlsFiles tls;
  };

  static void warn_of(const std::vector<FieldError>& names) {
    for (const FieldError& name : names)
      log::warning("a name gives nobody a role", {{"key", name.pointer}, {"why", name.detail}});
  }

  // What is there later is found when it runs.
  void warn_of_recipes(const config::Config& config) const {
    for (const FieldError& gap : check_recipes(config, identities_.plugins))
      log::warning("a recipe cannot run", {{"key", gap.pointer}, {"why", gap.detail}});
  }

  // Certificate and key as the front will use them; what is wrong with them is known before it is asked.
  static std::vector<FieldError> load_tls(const config::Config& config, config::TlsFiles& files) {
    if (config.tls.certificate.empty()) return {};
    std::vector<FieldError> errors = config::read_tls(config.tls, files);
    if (!errors.empty()) return errors;
    const auto context = http::TlsContext::make(files.certificate, files.key);
    if (!context) return {{"/tls/" + context.error().candidates.front(), context.error().detail}};
    if ((*context)->expired())
      log::warning("the certificate has expired", {{"valid_until", (*context)->valid_until()}});
    return {};
  }

  // As much of it as an audit's line may hold.
  static std::string told_front(const std::vector<std::string>& faults) {
    constexpr std::size_t most = 20;
    std::string text;
    for (std::size_t i = 0; i < faults.size() && i < most; ++i) text += (i ? "; " : "") + faults[i].substr(0, 500);
    return faults.size() <= most ? text : text + "; and " + std::to_string(faults.size() - most) + " more";
  }

  void begin_reload() {
    if (stopping_ || !service_.load) return;
    if (next_) {  // the front is about to answer
      reload_again_ = true;
      return;
    }
    systemd_.reloading();
    std::vector<std::string> faults;
    next_ = prepare_next(faults);
    if (!next_) {
      for (const std::string& fault : faults) log::error("the configuration cannot be taken over", {{"why", fault}});
      if (front_.running()) front_.process.channel.send("reload-failed", {{"detail", told_front(faults)}});
      return abandon(std::to_string(faults.size()) + (faults.size() == 1 ? " problem" : " problems"));
    }
    // Before the front, which offers the new targets from then on.
    configure_targets(next_->config);
    if (!front_.running()) return take_over();
    json::object reload = for_front(next_->effective, next_->peers, next_->tls);
    reload["catalogue"] = next_->catalogue;
    json::array& retire = reload["retire"].emplace_array();
    for (const auto& child : plugin_processes_)
      if (is_outdated(*child)) retire.emplace_back(child->name);
    front_.process.channel.send("reload", std::move(reload));
  }

  std::optional<Next> prepare_next(std::vector<std::string>& faults) {
    config::Loaded loaded = service_.load();
    for (const config::Fault& fault : loaded.faults) faults.push_back(config::to_string(fault));
    if (!faults.empty()) return std::nullopt;
    for (const std::string& key : needs_restart(service_.effective, loaded.effective))
      faults.push_back(
          config::to_string(config::fault_at(loaded, {key, "has changed, which takes a restart of hatchd"})));
    Next next{std::move(loaded.config), std::move(loaded.effective), {}, {}, {}, {}};
    next.peers = config::look_up_peers(next.config.access);
    for (const FieldError& name : next.peers.unanswered)
      faults.push_back(config::to_string(config::fault_at(loaded, name)));
    for (const FieldError& error : load_tls(next.config, next.tls))
      faults.push_back(config::to_string(config::fault_at(loaded, error)));
    next.plugins = reconfigured(plugins_, next.config, faults);
    for (const FieldError& error : taken_ids(next.plugins, next.config))
      faults.push_back(config::to_string(config::fault_at(loaded, error)));
    if (!faults.empty()) return std::nullopt;
    warn_of(next.peers.unknown);
    warn_of_recipes(next.config);
    next.catalogue = catalogue(next.plugins, next.config);
    return next;
  }

  // While the front takes over the next configuration no plugin's process starts by the old one.
  bool is_held(const Child& child) const { return next_ && child.kind == Child::Kind::plugin; }

  // Whether its process works by what the next configuration changes.
  bool is_outdated(const Child& child) const {
    return child.running() && !child.retired &&
           for_plugin(plugins_.at(child.name), catalogue_, service_.config) !=
               for_plugin(next_->plugins.at(child.name), next_->catalogue, next_->config);
  }

  void configure_targets(const config::Config& config) {
    if (targets_.running() &&
        (service_.config.targets != next_->config.targets || service_.config.mask != next_->config.mask))
      targets_.process.channel.send("configure", {{"targets", without_logs(config.targets)}, {"mask", config.mask}});
  }

  void take_over() {
    configure_targets(next_->config);  // again, should its process have been restarted in between
    for (const auto& child : plugin_processes_)
      if (is_outdated(*child)) {
        child->process.channel.send("retire");
        child->retired = true;
      }
    service_.config = std::move(next_->config);
    service_.effective = std::move(next_->effective);
    mask::use({{"mask", service_.config.mask}});
    peers_ = std::move(next_->peers);
    plugins_ = std::move(next_->plugins);
    catalogue_ = std::move(next_->catalogue);
    tls_ = std::move(next_->tls);
    log::info("the configuration is taken over");
    systemd_.ready(serving());
    end_reload();
  }

  void abandon(const std::string& why) {
    if (next_) configure_targets(service_.config);
    log::error("the old configuration stays as it is", {{"why", why}});
    systemd_.ready("The old configuration stays as it is: " + why);
    end_reload();
  }

  void end_reload() {
    next_.reset();
    if (std::exchange(reload_again_, false)) begin_reload();
  }

  // ---- endings
  // -----------------------------------------------------------------------------------------------------------

  // `options` of waitpid(2): WNOHANG leaves a process alone that lives after all (its descriptor number was another's).
  void bury(Child& child, int options) {
    int status = 0;
    if (::waitpid(child.process.pid, &status, options) == 0) return;
    const pid_t pid = child.process.pid;
    child.process = Spawned{};
    const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool idle = (WIFEXITED(status) && WEXITSTATUS(status) == link::exit_idle) || (child.retired && clean);
    const json::object how{{"how", WIFSIGNALED(status) ? "signal" : "exit"},
                           {"status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)}};
    if (!stopping_ && !idle)
      log::warning(
          "a process ended",
          {{"process", child.name}, {"pid", pid}, {"how", text_of(how, "how")}, {"status", number_of(how, "status")}});
    const bool rests = !stopping_ && !child.retired && !idle && !(clean && child.kind == Child::Kind::plugin);
    if (rests)
      ended_early(child);
    else
      child.failures = 0;
    if (child.kind == Child::Kind::plugin && front_.running()) {
      json::object note = how;
      note["plugin"] = child.name;
      note["pid"] = pid;
      note["idle"] = idle;
      if (rests) note["rest_ms"] = back_off(child.failures - 1).count();
      front_.process.channel.send("plugin-ended", std::move(note));
    }
    if (child.kind == Child::Kind::front) {
      // Runs cannot be told of any more: their processes end with the channel to the front; see to it.
      for (const auto& plugin : plugin_processes_)
        if (plugin->running()) ::kill(plugin->process.pid, SIGTERM);
      if (stopping_ && stage_ == Stage::front) return next_stage_of_stop();
      if (next_) abandon("the front ended while it took it over");
    }
  }

  void ended_early(Child& child) {
    if (child.started + served_well < Clock::now()) child.failures = 0;
    const auto delay = back_off(child.failures++);
    child.restart = Clock::now() + delay;
    log::info("it is started again", {{"process", child.name}, {"after_ms", delay.count()}});
  }

  // ---- the end: front first, while plugins and targets still serve its runs
  // ------------------------------------------------

  enum class Stage { front, rest, killing };

  void begin_stop() {
    systemd_.stopping();
    stopping_ = true;
    stage_ = Stage::front;
    deadline_ = Clock::now() + service_.config.grace;
    if (!front_.running()) return next_stage_of_stop();
    front_.process.channel.send("stop", {{"grace_ms", service_.config.grace.count()}});
  }

  void next_stage_of_stop() {
    if (stage_ == Stage::front) {
      stage_ = Stage::rest;
      deadline_ = Clock::now() + last_grace;
      for (Child* child : all())
        if (child->running() && child->kind != Child::Kind::front)
          child->process.channel.send("stop", {{"grace_ms", 0}}, {}, 0);
      if (front_.running()) ::kill(front_.process.pid, SIGKILL);
    } else {
      stage_ = Stage::killing;
      deadline_ = Clock::now() + last_grace;
      kill_all();
    }
  }

  void kill_all() {
    for (Child* child : all())
      if (child->running()) ::kill(child->process.pid, SIGKILL);
  }

  bool finished() {
    if (!stopping_) return false;
    const auto children = all();
    return std::none_of(children.begin(), children.end(), [](Child* child) { return child->running(); });
  }

  Systemd systemd_;
  std::optional<Clock::time_point> beat_;  // when the watchdog's next beat is due
  Service service_;
  std::string worker_;
  Identities identities_;
  UniqueFd signals_, lock_, runs_, cache_, audit_;
  const std::optional<std::uint64_t> memory_limit_ = memory_limit();
  std::vector<Listener> listeners_;
  Plugins plugins_;
  json::array catalogue_;
  config::PeerIds peers_;
  config::TlsFiles tls_;
  std::optional<Next> next_;  // prepared, and the front is asked to take it over
  bool reload_again_ = false;
  Child front_{.kind = Child::Kind::front, .name = "front"};
  Child targets_{.kind = Child::Kind::targets, .name = "targets"};
  std::vector<std::unique_ptr<Child>> plugin_processes_;
  bool plugins_known_ = false, announced_ = false, stopping_ = false, orphans_ = false;
  Stage stage_ = Stage::front;
  std::optional<Clock::time_point> deadline_;
  int exit_status_ = 0;
};

}  // namespace

std::chrono::milliseconds back_off(unsigned failures) {
  return std::min<std::chrono::milliseconds>(100ms * (1 << std::min(failures, 10u)), 30s);
}

int serve(Service service) { return Supervisor{std::move(service)}.run(); }

}  // namespace hatchd::supervisor
