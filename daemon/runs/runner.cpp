#include "runs/runner.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>
#include <utility>

#include "base/json.hpp"
#include "base/log.hpp"
#include "runs/audited.hpp"

namespace hatchd::runs {

namespace {

bool asks_for_capability(const Problem& problem) {
  return std::any_of(problem.missing.begin(), problem.missing.end(),
                     [](const std::string& entry) { return entry.find("CAP_") != std::string::npos; });
}

constexpr std::size_t max_recent = 64;
constexpr std::size_t max_params = 256 * 1024;  // of a record, which has a bound as a whole (Disk::max_record)

// Parameters as they are recorded. Deeply nested ones grow by their indentation, so both forms count.
boost::json::object recorded(boost::json::object params) {
  const std::size_t bytes = boost::json::serialize(params).size();
  if (bytes <= max_params && pretty(params, 1).size() <= max_params) return params;
  return {{"parameters_left_out", std::to_string(bytes) + " bytes, which is too large for the record of a run"}};
}

// What is not there was never told, or is pruned: no word on that.
void say_unreadable(const std::string& id, const Problem& problem) {
  if (problem.code == "internal")
    log::error("a file of a run cannot be read",
               {{"run", id}, {"problem", problem.detail}, {"remedy", problem.remedy}});
}

// Gives up the result that only memory holds.
void drop_kept(Live& live) {
  if (live.kept.empty()) return;
  live.kept.clear();
  live.run.has_result = false;
  live.run.renderings.clear();
}

}  // namespace

Runner::Runner(asio::any_io_executor executor, Plugins& plugins, Store& store, const Disk& disk, Pool& pool,
               Limits limits)
    : executor_(executor),
      plugins_(plugins),
      store_(store),
      disk_(disk),
      pool_(pool),
      limits_(limits),
      admission_(limits.admission),
      keys_(disk),
      history_(executor, store, disk, pool),
      artifacts_(disk, pool, [this](LivePtr live) { return write_record(std::move(live), true); }),
      late_timer_(executor),
      removed_(executor),
      ended_(executor),
      audited_(executor),
      turn_(executor) {}

tl::expected<LivePtr, Admission::Refusal> Runner::start(Order order) {
  if (stopping_) return tl::unexpected(Admission::Refusal{Problem{"shutting-down", "hatchd is stopping"}, 5});
  const SteadyTime now = std::chrono::steady_clock::now();
  if (order.key)
    if (const auto seconds = keys_.full(*order.key, now))
      return tl::unexpected(Admission::Refusal{Problem{"busy",
                                                       "too many idempotency keys are alive; each is kept for a day",
                                                       {},
                                                       "run without Idempotency-Key, or use fewer keys"},
                                               *seconds});
  const bool acts = order.effect != schema::Effect::observe && !order.preflight;
  if (acts && audit_ && !audit_->writable()) return tl::unexpected(Admission::Refusal{unwritable(*audit_), 5});
  if (const unsigned seconds = plugins_.rest(order.hatch->plugin, now); seconds > 0)
    return tl::unexpected(Admission::Refusal{
        Problem{"cooldown", "the process of plugin " + order.hatch->plugin + " ended again and again and rests for " +
                                std::to_string(seconds) + " s more"},
        seconds});
  auto slot = admission_.enter(*order.hatch, order.target, now, order.preflight);
  if (!slot) return tl::unexpected(slot.error());

  auto live = std::make_shared<Live>(executor_);
  live->preflight = order.preflight;
  live->lasting = order.effect != schema::Effect::observe || order.key;
  begin(live, order);
  Run& run = live->run;
  run.id = new_ulid();
  run.clock = std::chrono::system_clock::now();
  run.hatch = order.hatch->id;
  run.kind = order.hatch->kind;
  run.plugin = order.hatch->plugin;
  run.target = order.target;
  run.caller = order.caller.name;
  run.via = order.caller.via;
  run.uid = order.caller.uid;
  run.login = order.caller.login;
  run.reason = order.reason;
  run.params = recorded(std::move(order.masked));
  run.effect = order.effect;
  run.role = order.role;
  live_[run.id] = live;
  if (!live->preflight) store_.put(run);
  if (order.key) keys_.claim(*order.key, run.id, now);
  live->tell_state();
  asio::co_spawn(executor_, conduct(live, std::move(order), std::move(*slot)), [this, live](std::exception_ptr error) {
    if (!error) return;
    // Whatever happens, nobody waits for a run that never ends.
    log::error("recording a run failed", {{"run", live->run.id}});
    live->run.error = Problem{"internal", "hatchd met its own bug"};
    live->run.state = State::crashed;
    retire(live);
  });
  return live;
}

// Its time begins to count.
void Runner::begin(const LivePtr& live, const Order& order) {
  live->begun = std::chrono::steady_clock::now();
  live->deadline = live->begun + order.hatch->timeout + limits_.grace + limits_.backstop;
}

std::vector<Admission::Rest> Runner::resting(const catalogue::Hatch& hatch) const {
  return admission_.resting(hatch, std::chrono::steady_clock::now());
}

// Over: from here on nothing about it changes, and it is kept for followers only, who read its record and its events.
void Runner::retire(const LivePtr& live) {
  live->over = true;
  if (live->link) live->link->runs.erase(live->run.id);
  live->link.reset();
  live->started.reset();
  live->refused.reset();
  live->ended.reset();
  if (live->channel_over) {  // otherwise read_channel() still holds both
    live->channel.reset();
    live->outcome = {};
  }
  live_.erase(live->run.id);
  if (!live->preflight) recent_.push_back(live);
  if (recent_.size() > max_recent) {
    const LivePtr oldest = std::move(recent_.front());
    recent_.pop_front();
    if (!oldest->folder) store_.forget(oldest->run.id);  // memory was the only place where it was
    if (late_.contains(oldest->run.id)) drop_kept(*oldest);
  }
  bound_kept();
  if (on_end_ && !live->preflight) on_end_(live->run);
  live->changed.notify();
  ended_.notify();
}

// Results that the disk refused make room for newer ones. The newest stays in any case: its caller is about to read it.
void Runner::bound_kept() {
  std::size_t bytes = 0;
  for (auto at = recent_.rbegin(); at != recent_.rend(); ++at) {
    Live& live = **at;
    for (const auto& [name, text] : live.kept) bytes += text.size();
    if (at == recent_.rbegin() || bytes <= limits_.kept || live.kept.empty()) continue;
    drop_kept(live);
  }
}

asio::awaitable<void> Runner::wait(LivePtr live, SteadyTime until) {
  while (!live->over && std::chrono::steady_clock::now() < until) co_await live->changed.wait(until);
}

void Runner::cancel(const LivePtr& live) {
  if (live->over || live->cancel_asked) return;
  live->cancel_asked = true;
  if (live->link) live->link->call_off(live->run.id);
  live->changed.notify();
  turn_.notify();
}

LivePtr Runner::live(const std::string& id) const {
  if (const auto at = live_.find(id); at != live_.end()) return at->second;
  if (const auto at = late_.find(id); at != late_.end()) return at->second.live;
  const auto at = std::find_if(recent_.begin(), recent_.end(), [&](const LivePtr& live) { return live->run.id == id; });
  return at == recent_.end() ? nullptr : *at;
}

asio::awaitable<Result<Run>> Runner::load(std::string id) {
  if (const LivePtr found = live(id); found && !found->preflight) co_return found->run;
  co_await history_.have(id);
  const Entry* entry = store_.find(id);
  if (!entry || entry->hatch.empty()) co_return refuse("run-unknown", "there is no such run, or it is no longer kept");
  auto work = [this, id] { return disk_.read_record(id); };
  co_return co_await pool_.run(std::move(work));
}

asio::awaitable<Result<std::string>> Runner::read(std::string id, std::string file) {
  if (const LivePtr found = live(id)) {
    for (const Files* files : {&std::as_const(found->kept), &std::as_const(found->run.texts), found->fresh.get()}) {
      if (!files) continue;
      if (const auto at = files->find(file); at != files->end()) co_return at->second;
    }
  }
  auto work = [this, id, file] { return disk_.read(id, file); };
  auto text = co_await pool_.run(std::move(work));
  if (!text) say_unreadable(id, text.error());
  co_return text;
}

asio::awaitable<Result<UniqueFd>> Runner::open_artifact(std::string id, unsigned number) {
  auto work = [this, id, number] { return disk_.open_artifact(id, number); };
  co_return co_await pool_.run(std::move(work));
}

asio::awaitable<Result<UniqueFd>> Runner::open_events(std::string id) {
  auto work = [this, id] { return disk_.open_file(id, events_file); };
  auto file = co_await pool_.run(std::move(work));
  if (!file) say_unreadable(id, file.error());  // who follows them gets its end alone
  co_return file;
}

asio::awaitable<Result<Run>> Runner::remove_artifact(std::string id, std::string name) {
  while (removing_) co_await removed_.wait();  // one at a time: a record on disk is read, changed and written
  removing_ = true;
  const Defer done{[this] {
    removing_ = false;
    removed_.notify();
  }};
  LivePtr held = live(id);
  if (!held) {
    auto loaded = co_await load(id);
    if (!loaded) co_return loaded;
    held = std::make_shared<Live>(executor_);
    held->run = std::move(*loaded);
  }
  Run& run = held->run;
  const auto at = std::find_if(run.artifacts.begin(), run.artifacts.end(),
                               [&](const Artifact& artifact) { return artifact.name == name; });
  if (at == run.artifacts.end()) co_return refuse("run-unknown", "the run has no artifact of that name");
  const Artifact artifact = *at;
  run.artifacts.erase(at);
  run.bytes -= std::min(run.bytes, artifact.bytes);
  // The record first: a file that it does not name is cleared at the next start. On a full disk there is no room for a
  // new record before the file is gone.
  auto remove = [this, id, number = artifact.number] { disk_.remove_artifact(id, number); };
  auto written = co_await write_record(held, true);
  co_await pool_.run(remove);
  if (!written) written = co_await write_record(held, true);
  if (!written)
    log::error("a removed artifact is still in the record", {{"run", id}, {"problem", written.error().detail}});
  store_.put(run);
  co_return run;
}

asio::awaitable<Runner::Listed> Runner::list(Store::Query query) {
  // After a start the history is about to be read: who asks then waits for it, though not for ever.
  const SteadyTime until = std::chrono::steady_clock::now() + limits_.history;
  Store::Page page = store_.list(query);
  while (!page.whole && page.ids.size() < query.limit && std::chrono::steady_clock::now() < until) {
    co_await history_.more(until);
    Store::Query rest = query;
    rest.after = page.next;
    rest.limit = query.limit - page.ids.size();
    Store::Page more = store_.list(rest);
    page.ids.insert(page.ids.end(), more.ids.begin(), more.ids.end());
    page.next = std::move(more.next);
    page.whole = more.whole;
  }
  // What is in memory is newer than what is on disk.
  std::map<std::string, Run> known;
  for (const std::string& id : page.ids)
    if (const LivePtr found = live(id)) known.emplace(id, found->run);
  Listed listed;
  listed.next = std::move(page.next);
  listed.whole = page.whole || page.ids.size() >= query.limit;
  auto work = [this, ids = std::move(page.ids), known = std::move(known)] {
    std::vector<Run> runs;
    for (const std::string& id : ids) {
      if (const auto at = known.find(id); at != known.end())
        runs.push_back(at->second);
      else if (auto run = disk_.read_record(id))  // pruned in between: left out
        runs.push_back(std::move(*run));
    }
    return runs;
  };
  listed.runs = co_await pool_.run(std::move(work));
  co_return listed;
}

asio::awaitable<void> Runner::stop(SteadyTime until) {
  stopping_ = true;
  late_timer_.cancel();  // a last attempt
  for (const auto& [id, live] : std::map(live_)) cancel(live);
  while (!live_.empty() && std::chrono::steady_clock::now() < until) co_await ended_.wait(until);
  // Out of time: their deadline is now, and each is recorded as it stands.
  for (const auto& [id, live] : std::map(live_)) {
    live->deadline = SteadyTime{};
    live->changed.notify();
  }
  const SteadyTime last = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while ((!live_.empty() || writing_late_ || settling_) && std::chrono::steady_clock::now() < last)
    co_await ended_.wait(last);
}

asio::awaitable<void> Runner::prune() {
  if (!history_.whole()) co_return;
  std::vector<std::string> gone = store_.prune(std::chrono::system_clock::now());
  if (gone.empty()) co_return;
  std::erase_if(recent_,
                [&](const LivePtr& live) { return std::binary_search(gone.begin(), gone.end(), live->run.id); });
  auto work = [this, gone = std::move(gone)] {
    std::size_t kept = 0;
    std::string first, why;
    for (const std::string& id : gone)
      if (const auto removed = disk_.remove(id); !removed && kept++ == 0) first = id, why = removed.error().detail;
    if (kept > 0)
      log::warning("folders of runs that are no longer kept cannot be removed, so they still take room",
                   {{"runs", kept}, {"first", first}, {"why", why}});
  };
  co_await pool_.run(std::move(work));
}

void Live::move(State to) {
  if (!may_move(run.state, to))
    log::error("a run made a move that is not in the table",
               {{"run", run.id}, {"from", to_string(run.state)}, {"to", to_string(to)}});
  run.state = to;
}

void Live::tell_state() { events.add("state", state_event(run)); }

void Runner::end(const LivePtr& live, State state, std::optional<Problem> problem) {
  // Who started it by hand wants a command first. hatchctl knows it by its beginning (client/advice.cpp).
  if (problem && problem->code == "rights-missing" && !limits_.more_rights.empty() && asks_for_capability(*problem))
    problem->remedy = limits_.more_rights + "; as a service: " + problem->remedy;
  Run& run = live->run;
  run.error = std::move(problem);
  run.finished = rfc3339(std::chrono::system_clock::now());
  run.duration_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - live->begun).count();
  live->move(state);
}

}  // namespace hatchd::runs
