#include "front/front.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/json.hpp>
#include <filesystem>

#include "access/attempts.hpp"
#include "audit/refusals.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/landlock.hpp"
#include "base/log.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "config/config.hpp"
#include "config/units.hpp"
#include "front/routes.hpp"
#include "hatch/json.hpp"
#include "http/listener.hpp"
#include "http/pipeline.hpp"
#include "http/tls.hpp"
#include "link/outcome.hpp"
#include "link/protocol.hpp"
#include "metrics/metrics.hpp"
#include "metrics/time.hpp"
#include "version.hpp"

namespace hatchd::front {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t pool_threads = 4;

// For how long a request waits for the catalogue: longer than the supervisor lets plugins describe themselves.
constexpr auto begin_patience = 15s;

// What the front reads besides its own folders: users and groups, what its libraries read, and who a peer is.
constexpr std::array readable_folders{"/etc", "/usr", "/lib", "/lib64", "/proc"};

std::vector<uid_t> uids_of(const json::object& setup, std::string_view name) {
  std::vector<uid_t> uids;
  if (const json::array* list = array_of(setup, name))
    for (const json::value& value : *list)
      if (value.is_number()) uids.push_back(value.to_number<uid_t>());
  return uids;
}

std::vector<api::Listener> listeners_of(const json::object& setup) {
  std::vector<api::Listener> listeners;
  if (const json::array* list = array_of(setup, "listeners"))
    for (const json::value& value : *list)
      if (const json::object* entry = value.if_object())
        listeners.push_back({text_of(*entry, "unix"), text_of(*entry, "tcp"), flag_of(*entry, "tls")});
  return listeners;
}

// What may be held of answers and requests, as a part of the memory that all of hatchd may have; never more than as is.
void bound_by(http::Limits& limits, std::size_t memory) {
  const auto bound = [&](http::Budget::Limits& budget, std::size_t part) {
    budget.all = std::clamp<std::size_t>(part, 4 * 1024 * 1024, budget.all);
    budget.source = std::min(budget.source, budget.all / 2);
  };
  bound(limits.answers, memory / 4);
  bound(limits.requests, memory / 16);
}

// A connection is a descriptor, one that downloads or follows what is on disk a second one, and runs need some too.
http::Limits limits_of_house(const json::object& setup) {
  http::Limits limits;
  if (const auto memory = number_of(setup, "memory_limit"); memory > 0)
    bound_by(limits, static_cast<std::size_t>(memory));
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0)
    limits.connections = std::min<std::size_t>(limits.connections, descriptors.rlim_cur / 4 * 3);
  limits.connections_per_address = std::min(limits.connections_per_address, limits.connections / 2);
  return limits;
}

runs::Keep keep_of(const config::Runs& runs) {
  runs::Keep keep;
  keep.count = runs.keep_count;
  keep.bytes = runs.keep_bytes;
  keep.age = runs.keep_age;
  return keep;
}

runs::MinFree min_free_of(const config::Runs& runs) {
  return runs::min_free_of(runs.min_free, config::parse_size(runs.min_free));
}

// What a reload replaces, made of the supervisor's words: `setup` and `catalogue` at start, `reload` later.
struct Reloadable {
  config::Config config;
  std::shared_ptr<const catalogue::Catalogue> catalogue;
  access::Policy policy;
  std::shared_ptr<const http::TlsContext> tls;
};

// Who may be anybody at all; fixed for the life of the front.
struct Uids {
  std::vector<uid_t> reserved, admins;
};

std::shared_ptr<const catalogue::Catalogue> catalogue_of(const json::object& message) {
  const json::array* manifests = array_of(message, "catalogue");
  return std::make_shared<const catalogue::Catalogue>(manifests ? *manifests : json::array{});
}

// Takes milliseconds where there is much of it, so a reload does it on the pool.
Result<Reloadable> reloadable_of(const json::object& message, const Uids& uids) {
  // The supervisor's copy, without what is only the plugins' to know.
  const json::object none;
  const json::object* effective = object_of(message, "configuration");
  config::Loaded loaded = config::from_json(effective ? *effective : none);
  if (!loaded.faults.empty())
    return refuse("internal", "the configuration does not load: " + to_string(loaded.faults.front()));
  const json::object* peers = object_of(message, "peers");
  Reloadable made;
  made.config = std::move(loaded.config);
  made.catalogue = catalogue_of(message);
  made.policy = access::make_policy(made.config.access, made.config.listen,
                                    config::peer_ids_from(peers ? *peers : none), uids.reserved, uids.admins);
  if (const json::object* tls = object_of(message, "tls")) {
    auto context = http::TlsContext::make(text_of(*tls, "certificate"), text_of(*tls, "key"));
    if (!context) return tl::unexpected(context.error());
    made.tls = std::move(*context);
  }
  return made;
}

// Of hatches that are found later; those of the manifests have theirs in the catalogue.
catalogue::Settings settings_of(const config::Config& config) {
  catalogue::Settings settings;
  for (const auto& [id, hatch] : config.hatches)
    if (!hatch.recipe)
      settings[id] = {hatch.enabled, hatch.timeout, hatch.cooldown, hatch.concurrency,
                      hatch.queue,   hatch.role,    hatch.effect};
  return settings;
}

runs::Limits limits_of(const config::Runs& runs, const json::object& setup) {
  runs::Limits limits;
  limits.more_rights = text_of(setup, "more_rights");
  if (const auto memory = number_of(setup, "memory_limit"); memory > 0)
    limits.kept = std::min(limits.kept, static_cast<std::size_t>(memory) / 16);
  limits.admission.running = runs.concurrency;
  return limits;
}

// `fds`: audit directory, and the last one is journald's.
std::unique_ptr<audit::Audit> audit_of(link::Message& setup, const config::Audit& config) {
  const std::string file = std::filesystem::path(config.file).filename().string();
  UniqueFd journal;
  if (flag_of(setup.body, "journal")) {
    journal = std::move(setup.fds.back());
    setup.fds.pop_back();
  }
  return std::make_unique<audit::Audit>(std::move(setup.fds[1]), file.empty() ? "audit.jsonl" : file,
                                        audit::Bounds{config.max_bytes, config.keep}, std::move(journal));
}

void complete(audit::Audit& audit) {
  const auto recovered = audit.recover();
  if (!recovered)
    log::error("the audit cannot be written", {{"why", recovered.error().detail}});
  else if (recovered->cut > 0 || recovered->completed > 0)
    log::warning("the audit is completed after a crash",
                 {{"torn_bytes", recovered->cut}, {"runs", recovered->completed}});
}

// Is it a call that somebody made and that was not let? Reading what is not there is not; nor is a run that failed.
bool is_refused_call(const http::Request& request, const http::Response& response) {
  if (response.code.empty() || response.status == 424 || response.status == 500) return false;
  for (const auto& [name, value] : response.headers)
    if (name == "Location") return false;
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const unsigned status = response.status;
  return !reads || status == 401 || status == 403 || status == 421 || status == 429 || status == 503;
}

metrics::RunEnd metrics_of(const runs::Run& run) {
  // Where a hatch works through profiles, its parameter is called so.
  metrics::RunEnd end{run.hatch, run.target, text_of(run.params, "profile"), std::string(to_string(run.state))};
  end.duration_s = static_cast<double>(run.duration_ms) / 1e3;
  end.pause_s = static_cast<double>(run.paused_us) / 1e6;
  end.finished = metrics::unix_seconds(run.finished).value_or(0);
  return end;
}

std::vector<std::string> last_states() {
  std::vector<std::string> names;
  for (const runs::State state : runs::all_states)
    if (is_over(state)) names.emplace_back(to_string(state));
  return names;
}

// What the front is made of, in the order in which each part needs the ones before it. `disk` and `config` are ready.
//
// It answers probes as soon as it is put together. Everything else begins with the catalogue, which the supervisor knows
// once every plugin has described itself: until then requests wait, and nothing on disk is touched, since the supervisor
// may find that hatchd cannot start.
struct Front {
  asio::io_context& io;
  const Uids uids;
  const std::string folder;  // of the runs, for what people are told
  runs::Receiver supervisor;
  metrics::Metrics metrics;
  runs::Disk& disk;
  runs::Store store;
  runs::Pool pool{pool_threads};
  runs::Plugins plugins;
  runs::Runner runner;
  api::Finder finder;
  api::Api api;
  http::Pipeline pipeline;
  http::Listener listener;
  api::Members members;
  std::unique_ptr<audit::Audit> audit;
  audit::Refusals refusals;
  runs::Signal begun;     // api.ready, or the end
  bool counting = false;  // count_refusals() is under way
  int exit_status = 0;

  Front(asio::io_context& io, link::Channel channel, const json::object& setup, Uids uids, Reloadable first,
        runs::Disk& disk)
      : io(io),
        uids(std::move(uids)),
        folder(first.config.runs.directory + "/runs"),
        supervisor(io.get_executor(), std::move(channel)),
        metrics(version, last_states()),
        disk(disk),
        store(keep_of(first.config.runs)),
        plugins(io.get_executor(),
                [this](const std::string& name) {
                  return supervisor.send("plugin", {{"plugin", name}});
                }),
        runner(io.get_executor(), plugins, store, disk, pool, limits_of(first.config.runs, setup)),
        finder(io.get_executor()),
        api{first.catalogue, runner, pool, finder, [this] { return pipeline.policy(); }, listeners_of(setup), {}},
        pipeline(routes(api), std::move(first.policy), first.config.hosts),
        listener(
            io, [this](const http::Request& request) { return answer(request); }, limits_of_house(setup),
            [this](const http::Request& request, const http::Response& response, std::chrono::microseconds) {
              note_refusal(request, response);
              metrics.request(request.method, response.route, response.status);
            }),
        members(io.get_executor(), runner, pool),
        begun(io.get_executor()) {
    set_targets(first.config);
    members.use(settings_of(first.config));
    api.members = &members;
    metrics.know_targets(api.targets);
    for (const api::RouteEntry& route : api.routes) metrics.know_route(route.method, route.pattern, 200);
    api.metrics = &metrics;
    api.version = version;
    runner.on_end([this](const runs::Run& run) { run_ended(run); });
    listener.use(first.tls);
    listener.read_files_by(
        [this](int file, std::span<char> into, std::uint64_t at) { return read_file(file, into, at); });
  }

  asio::awaitable<http::Response> answer(const http::Request& request) {
    if (api.ready) return pipeline.answer(request);
    const http::Router::Match match = pipeline.router().find(request.method, request.path);
    if (match.route && match.route->action == access::Action::health) return pipeline.answer(request);
    return answer_when_begun(request, match.route ? match.route->fallback : http::default_format(request.path));
  }

  asio::awaitable<http::Response> answer_when_begun(const http::Request& request, http::Format fallback) {
    const SteadyTime until = std::chrono::steady_clock::now() + begin_patience;
    while (!api.ready && !api.stopping && std::chrono::steady_clock::now() < until) co_await begun.wait(until);
    if (api.ready) co_return co_await pipeline.answer(request);
    co_return http::problem_response(why_not_begun(), request, http::format_of(request, fallback));
  }

  Problem why_not_begun() const {
    Problem problem{"shutting-down", "hatchd is stopping"};
    if (!api.stopping) {
      problem = {"overloaded", "hatchd is starting: its plugins are still being read"};
      problem.remedy = "ask again in a moment";
    }
    return problem;
  }

  // All plugins are known, and hatchd does start.
  void begin(const json::object& message) {
    if (api.ready) return log::warning("the supervisor sent a second catalogue");
    api.catalogue = catalogue_of(message);
    metrics.know(api.catalogue);
    complete(*audit);
    audit->start([this] { asio::post(io, [this] { runner.audit_moved(); }); });
    audit->write(audit::entry("start"), true);
    runner.history().look();
    runner.keys().load(std::chrono::system_clock::now(), std::chrono::steady_clock::now());
    asio::co_spawn(io, read_history(), asio::detached);
    api.ready = true;
    begun.notify();
    supervisor.send("ready");
  }

  asio::awaitable<std::ptrdiff_t> read_file(int file, std::span<char> into, std::uint64_t at) {
    auto work = [file, into, at]() -> std::ptrdiff_t {
      const ssize_t got = ::pread(file, into.data(), into.size(), static_cast<off_t>(at));
      return got < 0 ? -errno : got;
    };
    co_return co_await pool.run(std::move(work));
  }

  void run_ended(const runs::Run& run) {
    metrics.run_ended(metrics_of(run));
    const metrics::Reading* reading = metrics::reading_of(run.hatch);
    if (reading && run.has_result && run.state == runs::State::succeeded)
      asio::co_spawn(io, read_result(*reading, run.id, text_of(run.params, "profile")), asio::detached);
  }

  // What a result says about the world around hatchd, such as how long a queue is.
  asio::awaitable<void> read_result(const metrics::Reading& reading, std::string run, std::string profile) {
    auto text = co_await runner.read(run, "result.json");
    if (!text) co_return;
    auto work = [text = std::move(*text)] { return parse_json(text); };
    const auto result = co_await pool.run(std::move(work));
    if (result && result->is_object()) metrics.read(reading, profile, result->get_object());
  }

  void set_targets(const config::Config& config) {
    api.targets.clear();
    api.discovers_targets = config.targets.contains("*");
    for (const auto& target : config.targets)
      if (target.key() != "*") api.targets.emplace_back(target.key());
  }

  // For those who were not looking at the log.
  void reload_ended(bool taken, const std::string& why) {
    api.reload = {rfc3339(std::chrono::system_clock::now()), taken, hatch::printable(mask::rules()->text(why))};
    metrics.reloaded(taken, metrics::unix_seconds(api.reload.time).value_or(0));
    if (!audit) return;
    json::object line = audit::entry("reload");
    line["outcome"] = taken ? "succeeded" : "failed";
    line["detail"] = taken ? json::value(nullptr) : json::value(api.reload.detail);
    audit->write(line, true);
  }

  // Everything or nothing: what can fail has not touched anything yet. Requests and runs under way keep what they began
  // with, but for rights that their caller has no longer.
  asio::awaitable<void> reload(json::object message) {
    auto work = [this, message] { return reloadable_of(message, uids); };
    Result<Reloadable> made = co_await pool.run(std::move(work));
    reload_ended(!!made, made ? "" : made.error().detail);
    if (!made) {
      supervisor.send("reload-refused", {{"problem", to_json(made.error())}});
      co_return;
    }
    api.catalogue = std::move(made->catalogue);
    mask::use({{"mask", made->config.mask}});
    set_targets(made->config);
    members.use(settings_of(made->config));
    metrics.know(api.catalogue);
    metrics.know_targets(api.targets);
    store.keep(keep_of(made->config.runs));
    disk.set_min_free(min_free_of(made->config.runs));
    pipeline.reconfigure(std::move(made->policy), made->config.hosts);
    for (const std::string& plugin : texts_of(message, "retire")) plugins.retire(plugin);
    listener.use(made->tls);
    listener.recheck();
    supervisor.send("reloaded");
    co_await runner.prune();
  }

  void plugin_ended(const json::object& body) {
    plugins.ended(text_of(body, "plugin"), static_cast<pid_t>(number_of(body, "pid")),
                  link::death_text(text_of(body, "how"), static_cast<int>(number_of(body, "status"))),
                  std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(body, "rest_ms"), 0, 60'000)));
  }

  void use(std::unique_ptr<audit::Audit> made) {
    audit = std::move(made);
    runner.use(*audit);
    api.audit = audit.get();
    api.artifact_removed = [this](const http::Context& context, const runs::Run& run, const runs::Artifact& artifact) {
      json::object line = audit::entry("remove");
      line["run"] = run.id;
      line["hatch"] = run.hatch;
      line["target"] = run.target.empty() ? json::value(nullptr) : json::value(json::object{{"name", run.target}});
      audit::add_caller(line, context.caller, audit::origin_of(context.request));
      line["artifacts"] =
          json::array{json::object{{"name", artifact.name}, {"bytes", artifact.bytes}, {"sha256", artifact.sha256}}};
      audit->write(line, true);
    };
  }

  void note_refusal(const http::Request& request, const http::Response& response) {
    if (!audit || !is_refused_call(request, response)) return;
    audit::Refusal call;
    call.source = access::source_of(request.peer);
    call.origin = audit::origin_of(request);
    call.caller.name = response.caller;
    call.caller.via = request.header("authorization").empty() ? (request.peer.local ? "unix" : "anonymous") : "token";
    call.caller.login = request.peer.login;
    if (request.peer.local) call.caller.uid = request.peer.uid;
    call.code = response.code;
    call.status = response.status;
    call.method = request.method;
    call.path = request.path;
    for (const std::string_view door : {"/v1/hatches/", "/"})
      if (call.hatch.empty() && request.path.starts_with(door) && request.method == "POST")
        call.hatch = request.path.substr(door.size());
    if (const auto line = refusals.note(call, std::chrono::steady_clock::now())) audit->write_refused(*line);
    if (!std::exchange(counting, true)) asio::co_spawn(io, count_refusals(), asio::detached);
  }

  // Only while there are some: an idle daemon is not woken.
  asio::awaitable<void> count_refusals() {
    const Defer idle{[this] { counting = false; }};
    asio::steady_timer timer(io);
    while (!refusals.empty()) {
      timer.expires_after(10s);
      boost::system::error_code error;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      for (const json::object& line : refusals.due(std::chrono::steady_clock::now())) audit->write_refused(line);
    }
  }

  void end_audit() {
    if (!audit) return;
    for (const json::object& line : refusals.rest()) audit->write_refused(line);
    audit->write(audit::entry("stop"), true);
    audit->finish();
  }

  // Messages of the supervisor, until it says stop or is gone.
  asio::awaitable<void> obey() {
    std::chrono::milliseconds grace = 2s;  // nobody waits for us when the supervisor is gone
    exit_status = link::exit_parent_gone;
    while (auto message = co_await supervisor.next()) {
      const json::object& body = message->body;
      const std::string plugin = text_of(body, "plugin");
      if (message->type == "catalogue") {
        begin(body);
      } else if (message->type == "targets" && !message->fds.empty()) {
        finder.connect(link::Channel(std::move(message->fds.front())));
      } else if (message->type == "plugin" && !message->fds.empty()) {
        metrics.plugin_started(plugin);
        plugins.arrived(plugin, static_cast<pid_t>(number_of(body, "pid")),
                        link::Channel(std::move(message->fds.front())));
      } else if (message->type == "plugin-refused") {
        const json::object* problem = object_of(body, "problem");
        plugins.refused(plugin,
                        problem ? problem_from_json(*problem) : Problem{"run-failed", "the plugin cannot be started"});
      } else if (message->type == "plugin-ended") {
        metrics.plugin_ended(plugin, flag_of(body, "idle"));
        plugin_ended(body);
      } else if (message->type == "reload") {
        asio::co_spawn(io, reload(std::move(message->body)), asio::detached);
      } else if (message->type == "reload-failed") {
        reload_ended(false, text_of(body, "detail"));
      } else if (message->type == "ping") {
        supervisor.send("pong");
      } else if (message->type == "stop") {
        grace = std::chrono::milliseconds(std::clamp<std::int64_t>(number_of(body, "grace_ms", 10'000), 100, 600'000));
        exit_status = 0;
        break;
      } else {
        log::warning("the supervisor sent an unknown message", {{"type", message->type}});
      }
    }
    co_await stop(grace);
  }

  // No new requests; runs are cancelled and recorded, so that their callers get an answer; then the connections end.
  asio::awaitable<void> stop(std::chrono::milliseconds grace) {
    api.stopping = true;
    begun.notify();
    const SteadyTime until = std::chrono::steady_clock::now() + grace;
    bool closed = false;
    runs::Signal all_closed(io.get_executor());
    listener.stop(grace, [&] {
      closed = true;
      all_closed.notify();
    });
    // Plugins keep serving messages while their runs end: the supervisor's word about them is still heard by then.
    asio::co_spawn(io, keep_listening(), asio::detached);
    co_await runner.stop(until - grace / 10);
    const SteadyTime last = until + 1s;
    while (!closed && std::chrono::steady_clock::now() < last) co_await all_closed.wait(last);
    end_audit();
    supervisor.send("stopped");
    io.stop();
  }

  asio::awaitable<void> keep_listening() {
    while (auto message = co_await supervisor.next())
      if (message->type == "plugin-ended") plugin_ended(message->body);
  }

  // With interrupted runs recorded as such.
  asio::awaitable<void> read_history() {
    std::function<void(const runs::Run&)> take = [this](const runs::Run& run) {
      metrics.run_succeeded_before(metrics_of(run));
    };
    const runs::History::Counts read = co_await runner.history().read(std::move(take));
    disk.ends().forget();
    log::info("history is read",
              {{"runs", read.runs}, {"interrupted", read.interrupted}, {"unreadable", read.unreadable}});
    if (read.unreadable > 0)
      log::warning("runs cannot be read: they are in no list, and stay until retention reaches them",
                   {{"runs", read.unreadable},
                    {"first", read.which},
                    {"why", read.why},
                    {"remedy", "look at their folders in " + folder + "; what belongs to somebody else: chown -hR " +
                                   std::to_string(::geteuid()) + ":" + std::to_string(::getegid()) + " " + folder +
                                   ", then start hatchd again"}});
    co_await prune_hourly();
  }

  // Age passes without a run ending.
  asio::awaitable<void> prune_hourly() {
    asio::steady_timer timer(io);
    for (;;) {
      co_await runner.prune();
      timer.expires_after(1h);
      boost::system::error_code error;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
    }
  }
};

}  // namespace

int serve(link::Channel supervisor, link::Message setup) {
  const auto fail = [&](const Problem& problem) {
    log::error("the front cannot serve", {{"problem", problem.detail}});
    supervisor.send("failed", {{"problem", to_json(problem)}});
    return link::exit_setup;
  };

  // Opened like the libraries that we are linked with, before there is anything to be read. Later it may be out of reach.
  if (object_of(setup.body, "tls"))
    if (auto opened = http::open_tls(); !opened) return fail(opened.error());

  // Rights first: everything after this line runs with what strangers may get hold of.
  raise_descriptor_limit();  // A descriptor for each connection and several for each run
  ::signal(SIGPIPE, SIG_IGN);
  // A terminal sends these to all of us; the supervisor says what comes of them.
  for (const int number : {SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
  if (auto lowered = rights::lower(rights::rights_of(setup.body), rights::Filter::front, ::getppid()); !lowered)
    return fail(lowered.error());
  if (setup.fds.size() < 2) return fail({"internal", "no directories for runs and audit were handed over"});
  const std::array<int, 2> own_folders{setup.fds[0].get(), setup.fds[1].get()};
  const auto confined = landlock::confine(own_folders, readable_folders);
  if (!confined) return fail(confined.error());
  if (!*confined) log::info("the kernel has no Landlock, so files are closed to the front by its user id alone");

  // Configuration, as the supervisor read it.
  const Uids uids{uids_of(setup.body, "reserved_uids"), uids_of(setup.body, "admin_uids")};
  Result<Reloadable> first = reloadable_of(setup.body, uids);
  if (!first) return fail(first.error());
  mask::use({{"mask", first->config.mask}});

  // What is on disk.
  auto disk = runs::Disk::open(setup.fds.front().get(), min_free_of(first->config.runs));
  if (!disk) return fail(disk.error());

  // The parts, put together.
  asio::io_context io(1);
  const config::Audit audit = first->config.audit;
  Front front(io, std::move(supervisor), setup.body, uids, std::move(*first), *disk);
  front.use(audit_of(setup, audit));

  // Listeners: bound by the supervisor, in the order of the configuration.
  for (std::size_t i = 0; i < front.api.listeners.size() && i + 2 < setup.fds.size(); ++i)
    front.listener.add(
        {std::move(setup.fds[i + 2]), !front.api.listeners[i].unix_path.empty(), i, front.api.listeners[i].tls});

  // From here on the front answers.
  asio::co_spawn(io, front.obey(), asio::detached);
  io.run();

  // Coroutines that wait for what no longer comes are still suspended in `io` and refer to the parts of `front`: there
  // is no order in which both could be taken apart, and nothing to gain. Every run is recorded by now.
  ::_exit(front.exit_status);
}

}  // namespace hatchd::front
