#include "front/front.hpp"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rights.hpp"
#include "config/config.hpp"
#include "front/routes.hpp"
#include "http/listener.hpp"
#include "http/pipeline.hpp"
#include "link/outcome.hpp"
#include "link/protocol.hpp"

namespace hatchd::front {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t pool_threads = 4;

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
        listeners.push_back({text_of(*entry, "unix"), text_of(*entry, "tcp")});
  return listeners;
}

runs::Keep keep_of(const config::Runs& runs) {
  runs::Keep keep;
  keep.count = runs.keep_count;
  keep.bytes = runs.keep_bytes;
  keep.age = runs.keep_age;
  return keep;
}

// What the front is made of, in the order in which each part needs the ones before it. `disk` and `config` are ready.
struct Front {
  asio::io_context& io;
  runs::Receiver supervisor;
  catalogue::Catalogue catalogue;
  runs::Disk& disk;
  runs::Store store;
  runs::Pool pool{pool_threads};
  runs::Plugins plugins;
  runs::Runner runner;
  api::Finder finder;
  api::Api api;
  http::Pipeline pipeline;
  http::Listener listener;
  int exit_status = 0;

  Front(asio::io_context& io, link::Channel channel, const json::object& setup, const config::Config& config,
        runs::Disk& disk)
      : io(io),
        supervisor(io.get_executor(), std::move(channel)),
        catalogue(array_of(setup, "catalogue") ? *array_of(setup, "catalogue") : json::array{}),
        disk(disk),
        store(keep_of(config.runs)),
        plugins(io.get_executor(),
                [this](const std::string& name) {
                  return supervisor.send("plugin", {{"plugin", name}});
                }),
        runner(io.get_executor(), plugins, store, disk, pool, {}),
        finder(io.get_executor()),
        api{catalogue, runner, pool, finder, [this] { return pipeline.policy(); }, listeners_of(setup), {}},
        pipeline(routes(api),
                 access::make_policy(config.access, config.listen, uids_of(setup, "reserved_uids"),
                                     uids_of(setup, "admin_uids")),
                 config.hosts),
        listener(io, [this](const http::Request& request) { return pipeline.answer(request); }) {
    for (const auto& [name, matcher] : config.targets) {
      if (name == "*")
        api.discovers_targets = true;
      else
        api.targets.emplace_back(name);
    }
  }

  // Messages of the supervisor, until it says stop or is gone.
  asio::awaitable<void> obey() {
    std::chrono::milliseconds grace = 2s;  // nobody waits for us when the supervisor is gone
    exit_status = link::exit_parent_gone;
    while (auto message = co_await supervisor.next()) {
      const json::object& body = message->body;
      const std::string plugin = text_of(body, "plugin");
      if (message->type == "targets" && !message->fds.empty()) {
        finder.connect(link::Channel(std::move(message->fds.front())));
      } else if (message->type == "plugin" && !message->fds.empty()) {
        plugins.arrived(plugin, link::Channel(std::move(message->fds.front())));
      } else if (message->type == "plugin-refused") {
        const json::object* problem = object_of(body, "problem");
        plugins.refused(plugin,
                        problem ? problem_from_json(*problem) : Problem{"run-failed", "the plugin cannot be started"});
      } else if (message->type == "plugin-ended") {
        plugins.ended(plugin, link::death_text(text_of(body, "how"), static_cast<int>(number_of(body, "status"))));
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
    supervisor.send("stopped");
    io.stop();
  }

  asio::awaitable<void> keep_listening() {
    while (auto message = co_await supervisor.next())
      if (message->type == "plugin-ended")
        plugins.ended(
            text_of(message->body, "plugin"),
            link::death_text(text_of(message->body, "how"), static_cast<int>(number_of(message->body, "status"))));
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

  // Rights first: everything after this line runs with what strangers may get hold of.
  raise_descriptor_limit();  // A descriptor for each connection and several for each run
  ::signal(SIGPIPE, SIG_IGN);
  if (auto lowered = rights::lower(rights::rights_of(setup.body), rights::Filter::front, ::getppid()); !lowered)
    return fail(lowered.error());

  // Configuration: the supervisor's copy, without what is only the plugins' to know.
  const json::object* effective = object_of(setup.body, "configuration");
  const config::Loaded loaded = config::from_json(effective ? *effective : json::object{});
  if (!loaded.faults.empty())
    return fail({"internal", "the configuration does not load: " + to_string(loaded.faults.front())});
  const config::Config& config = loaded.config;

  // History: what is on disk, with interrupted runs recorded as such.
  if (setup.fds.empty()) return fail({"internal", "no runs directory was handed over"});
  auto disk = runs::Disk::open(setup.fds.front().get());
  if (!disk) return fail(disk.error());
  const runs::History history = runs::read_history(*disk);

  // The parts, put together.
  asio::io_context io(1);
  Front front(io, std::move(supervisor), setup.body, config, *disk);
  for (const runs::Run& run : history.runs) front.store.put(run);
  log::info("history is read",
            {{"runs", history.runs.size()}, {"interrupted", history.interrupted}, {"unreadable", history.unreadable}});

  // Listeners: bound by the supervisor, in the order of the configuration.
  for (std::size_t i = 0; i < front.api.listeners.size() && i + 1 < setup.fds.size(); ++i)
    front.listener.add({std::move(setup.fds[i + 1]), !front.api.listeners[i].unix_path.empty(), i});

  // From here on the front answers.
  asio::co_spawn(io, front.obey(), asio::detached);
  asio::co_spawn(io, front.prune_hourly(), asio::detached);
  front.api.ready = true;
  front.supervisor.send("ready");
  io.run();

  // Coroutines that wait for what no longer comes are still suspended in `io` and refer to the parts of `front`: there
  // is no order in which both could be taken apart, and nothing to gain. Every run is recorded by now.
  ::_exit(front.exit_status);
}

}  // namespace hatchd::front
