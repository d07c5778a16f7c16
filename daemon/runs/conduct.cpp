// The way of one run, from start to end. Two coroutines share a Live: this one decides, read_channel() takes what the
// run says. The outcome (link/outcome.hpp) is fed by read_channel() while the run speaks, and by conclude() after that.
#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "hatch/json.hpp"
#include "link/receive.hpp"
#include "runs/runner.hpp"

namespace hatchd::runs {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

SteadyTime now() { return std::chrono::steady_clock::now(); }

constexpr std::size_t max_rendering_total = 128 * 1024 * 1024;

State state_of(link::RunState state) {
  switch (state) {
    case link::RunState::succeeded: return State::succeeded;
    case link::RunState::failed: return State::failed;
    case link::RunState::cancelled: return State::cancelled;
    case link::RunState::timed_out: return State::timed_out;
    case link::RunState::crashed: return State::crashed;
  }
  return State::crashed;
}

json::object start_message(const Run& run, const Order& order, bool recording) {
  json::object start{{"run", run.id},
                     {"hatch", order.hatch->id},
                     {"params", order.params},
                     {"format", order.format},
                     {"caller", json::object{{"name", run.caller}, {"via", run.via}}},
                     {"preflight", order.preflight},
                     {"recording", recording}};
  if (!order.hatch->family.empty()) {
    // A member: its family's hatch runs it (catalogue/members.hpp), within the effect that was allowed.
    json::object arguments = order.params;
    const std::string workers = text_of(arguments, "workers");
    arguments.erase("workers");
    start["hatch"] = order.hatch->family;
    start["as"] = order.hatch->id;
    start["params"] = json::object{{"member", order.hatch->id.substr(order.hatch->id.find('.') + 1)},
                                   {"arguments", json::serialize(arguments)},
                                   {"workers", workers},
                                   {"effect", schema::to_string(order.effect)}};
  }
  if (!order.hatch->kind.empty()) start["kind"] = order.hatch->kind;
  if (!order.profile.empty()) start["profile"] = order.profile;
  if (!order.target.empty()) {
    start["target"] = order.target;
    start["processes"] = order.processes;
  }
  return start;
}

// The code with which its plugin's process refused the run.
std::string refusal(const LivePtr& live) {
  const json::object* problem = object_of(live->refused->body, "problem");
  return problem ? text_of(*problem, "code") : std::string();
}

// Everything of a result that goes to disk.
struct Answer {
  Files files;
  std::vector<std::string> renderings;
  std::string verdict;
  bool has_result = false;
  std::uint64_t bytes = 0;
};

Answer answer_of(link::Outcome& outcome) {
  Answer answer;
  if (!outcome.result().empty()) {
    answer.bytes += outcome.result().size();
    answer.files["result.json"] = std::move(outcome.result());
    answer.has_result = true;
    answer.verdict = hatch::printable(outcome.verdict().substr(0, 1000), true);
  }
  for (auto& [name, text] : outcome.renderings()) {
    if (!is_rendering_name(name) || answer.bytes + text.size() > max_rendering_total) continue;
    answer.bytes += text.size();
    answer.files[rendering_file(name)] = std::move(text);
    answer.renderings.push_back(name);
  }
  return answer;
}

}  // namespace

asio::awaitable<void> Runner::conduct(LivePtr live, Order order, std::shared_ptr<Admission::Slot> slot) {
  Run& run = live->run;
  const std::uint64_t audited = audit_begin(live, order);

  if (live->preflight) {
    live->events.stay_in_memory();
  } else {
    // While its process begins, since that takes as long; on_disk() waits for it.
    live->writing_record = true;
    asio::co_spawn(executor_, begin_record(live, order), [live](std::exception_ptr error) {
      if (!error) return;
      log::error("a run is not on disk", {{"run", live->run.id}, {"problem", "hatchd met its own bug"}});
      live->run.stored = live->folder = false;
      live->events.stay_in_memory();
    });
  }
  // What throws here is a lack of descriptors or memory, or a bug: the run ends all the same.
  try {
    // There is no hurry where it has to wait for its turn.
    live->looks_first =
        order.hatch->looks_first() && order.effect != schema::Effect::observe && !order.preflight && !slot->waits();
    if (!live->looks_first) co_await be_on_record(live, order, audited);
    if (!is_over(run.state) && slot->waits()) co_await take_turn(live, order, slot);
    if (!is_over(run.state)) co_await hand_over(live, order);
    if (live->looks_first && !is_over(run.state)) {
      co_await be_on_record(live, order, audited);
      if (is_over(run.state) && live->link) live->link->call_off(run.id);
      // Who was told to stop is not told to act: the two take different ways.
      if (!is_over(run.state) && !live->cancel_asked) live->channel->send("act");
    }
    if (!is_over(run.state)) co_await attend(live);
    co_await live->on_disk();
    if (!is_over(run.state)) co_await conclude(live);
  } catch (const std::exception& error) {
    log::error("conducting a run failed", {{"run", run.id}, {"error", error.what()}});
    if (!is_over(run.state)) end(live, State::crashed, Problem{"internal", "hatchd could not go on with this run"});
  }

  // It has answered, or its process is gone or given up on. Whoever sees its end may start the next at once, so the place
  // is given back before the record, which takes a while, is written.
  slot->leave(now(), run.state == State::crashed);
  turn_.notify();
  if (live->channel) live->channel->close();
  while (!live->channel_over) co_await live->changed.wait();  // close() ends it at once
  if (live->link) live->link->runs.erase(run.id);
  live->link.reset();
  co_await artifacts_.finish(run.id);
  // That it has ended is told when the record, which is what counts after a crash, says so.
  co_await write_end(live);
  audit_end(live, order);
  live->tell_state();
  live->events.add("result", result_event(run));
  live->changed.notify();
  retire(live);
  co_await asio::post(executor_, asio::use_awaitable);  // who waits for the answer goes first
  co_await write_events(live);
  if (live->preflight) co_return;
  log::info("run ended", {{"run", run.id},
                          {"hatch", run.hatch},
                          {"target", run.target},
                          {"state", to_string(run.state)},
                          {"caller", run.caller},
                          {"ms", run.duration_ms}});
  if (live->folder) co_await settle(live);
  co_await prune();
}

// Until what acts is on disk and in the audit, which outlast a power cut. Where they cannot, it ends here: nothing was done.
asio::awaitable<void> Runner::be_on_record(LivePtr live, const Order& order, std::uint64_t audited) {
  Run& run = live->run;
  if (live->lasting && !live->preflight) co_await live->on_disk();
  if (!run.stored && order.effect != schema::Effect::observe)
    co_return end(live, State::failed,
                  Problem{"no-space",
                          std::string("the run could not be recorded, so it ") +
                              (live->started ? "did nothing but look" : "was not started"),
                          {},
                          "make room in runs.directory"});
  auto recorded = co_await audit_durable(audited);
  if (recorded) co_return;
  if (order.key) keys_.release(*order.key, run.id);  // nothing was done
  end(live, State::failed, std::move(recorded.error()));
}

// Until its turn has come. Meanwhile it is queued, and may be cancelled.
asio::awaitable<void> Runner::take_turn(LivePtr live, const Order& order, std::shared_ptr<Admission::Slot> slot) {
  SteadyTime again;
  while (!live->cancel_asked && !slot->start(now(), again)) co_await turn_.wait(again);
  if (live->cancel_asked)
    co_return end(live, State::cancelled,
                  Problem{"run-cancelled", stopping_ ? "hatchd stopped while the run waited for its turn"
                                                     : "the run was cancelled while it waited for its turn"});
  begin(live, order);
  turn_.notify();  // the next in the queue looks whether there is room for it, too
}

// Gets the run to its plugin's process: until it has said something about the run, or went away. A process that left
// for want of work just before it read `start` never saw it, so the run is offered once more.
asio::awaitable<void> Runner::hand_over(LivePtr live, const Order& order) {
  Run& run = live->run;
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto link = co_await plugins_.get(run.plugin);
    if (live->cancel_asked)
      co_return end(live, State::cancelled, Problem{"run-cancelled", "the run was cancelled before it started"});
    if (!link) {
      Problem problem = link.error();
      if (problem.code != "rights-missing") problem.code = "run-failed";
      problem.detail = "the plugin is not there: " + problem.detail;
      co_return end(live, State::failed, std::move(problem));
    }
    auto [ours, theirs] = link::Channel::pair();
    live->link = *link;
    live->link->runs[run.id] = live;
    live->channel = std::make_shared<Receiver>(executor_, link::Channel(std::move(ours)), link::max_run_body);
    const std::array fds{theirs.get()};
    const bool sent = live->link->receiver.send("start", start_message(run, order, live->looks_first), fds);
    theirs.reset();
    if (sent) {
      live->channel_over = false;
      asio::co_spawn(executor_, read_channel(live), [live](std::exception_ptr) {
        live->channel_over = true;
        live->changed.notify();
      });
      while (!live->started && !live->refused && !live->ended && !live->link->gone && now() < live->deadline)
        co_await live->changed.wait(live->deadline);
    }
    // A process that is about to leave says so; it never began the run, so that is the same as having left.
    if (live->refused && !live->started && attempt == 0 && !live->cancel_asked && refusal(live) == "shutting-down")
      live->refused.reset();
    if (live->started || live->refused || live->ended || now() >= live->deadline) break;
    live->channel->close();
    while (!live->channel_over) co_await live->changed.wait();  // close() ends it at once
    // Its end is about to be noticed; or it is there, does not read, and will not.
    const SteadyTime noticed = now() + 1s;
    while (!live->link->gone && now() < noticed) co_await live->changed.wait(noticed);
    if (!live->link->gone) {
      live->link->runs.erase(run.id);
      co_return end(live, State::failed, Problem{"run-failed", "the plugin's process does not take new runs"});
    }
  }
  if (live->started) {
    if (const json::object* target = object_of(live->started->body, "target")) {
      run.target_pid = static_cast<pid_t>(std::clamp<std::int64_t>(number_of(*target, "pid"), 0, 1 << 22));
      run.target_started = text_of(*target, "started").substr(0, 40);
    }
    run.started = rfc3339(std::chrono::system_clock::now());
    live->move(State::running);
    if (!live->preflight) store_.put(run);  // who lists what is running finds it before the record says so
    live->tell_state();
    live->changed.notify();
  }
}

// Until the run has said how it went, its process is gone, or the deadline has come at which we no longer believe its
// plugin's process. A process that has answered is left to end by itself: taking its memory down may take longer than all the rest.
asio::awaitable<void> Runner::attend(LivePtr live) {
  const auto decided = [&] { return live->decided || live->refused || live->ended || live->link->gone; };
  // That it is running, on which process, and what it tells is written when it turns out to take a while; what is brief is
  // written once, at its end. What acts is on disk anyway.
  const SteadyTime brief = now() + 100ms;
  while (live->started && !decided() && now() < brief) co_await live->changed.wait(brief);
  if (live->started && !decided()) {
    co_await record(live);
    live->lasts = true;
    spill_events(live);
  }
  SteadyTime look{};
  while (!decided() && now() < live->deadline) {
    if (artifacts_.any_open(live->run.id) && now() >= look) {
      co_await artifacts_.watch(live);
      look = now() + 250ms;
      continue;  // it took a while
    }
    const SteadyTime until = artifacts_.any_open(live->run.id) ? std::min(look, live->deadline) : live->deadline;
    co_await live->changed.wait(until);
  }
  if (live->refused || live->decided) co_return;
  // Given up on: should its plugin's process come back to life, it ends the run.
  if (!live->ended && !live->link->gone && !live->cancel_asked) live->link->call_off(live->run.id);
  // What the dead process sent is still in the socket, whose end comes after it. Somebody may hold the other end open:
  // not for long.
  const SteadyTime drained = now() + 2s;
  while (!live->channel_over && (live->ended || live->link->gone) && now() < drained)
    co_await live->changed.wait(drained);
  if (!live->channel_over) {
    live->channel->close();
    while (!live->channel_over) co_await live->changed.wait();
  }
  // How the plugin's process ended, if the supervisor says so in time.
  const SteadyTime told = now() + 500ms;
  while (!live->ended && live->link->gone && live->link->how.empty() && now() < told)
    co_await live->link->changed.wait(told);
}

asio::awaitable<void> Runner::conclude(LivePtr live) {
  Run& run = live->run;
  if (live->refused && !live->ended) {
    const json::object* body = object_of(live->refused->body, "problem");
    Problem problem =
        body ? problem_from_json(*body) : Problem{"run-failed", "the plugin refused the run and did not say why"};
    // Asked to stop before its process began: nothing failed.
    if (live->cancel_asked && (problem.code == "run-cancelled" || problem.code == "shutting-down")) {
      problem.code = "run-cancelled";
      co_return end(live, State::cancelled, std::move(problem));
    }
    // Only what a plugin's process can know; the rest of the codes are the front's own.
    constexpr std::array allowed{"target-unknown", "target-gone", "target-ambiguous", "rights-missing", "run-crashed"};
    if (std::find(allowed.begin(), allowed.end(), problem.code) == allowed.end()) problem.code = "run-failed";
    problem.detail = hatch::printable(problem.detail, true);
    co_return end(live, State::failed, std::move(problem));
  }
  if (live->ended) {
    live->outcome.take(*live->ended);
  } else if (live->decided) {
    // What is said of its process later is no longer listened to.
  } else if (live->link && live->link->gone) {
    live->outcome.plugin_gone(live->link->how.empty() ? "which went away" : live->link->how);
  } else if (live->cancel_asked && stopping_) {
    co_return end(live, State::cancelled, Problem{"run-cancelled", "hatchd stopped, and the run did not end in time"});
  } else {
    live->outcome.plugin_gone("which did not answer in time");
  }

  State state = state_of(live->outcome.state());
  std::optional<Problem> problem = live->outcome.problem();
  // The run no longer speaks: the outcome is ours alone.
  Answer answer = answer_of(live->outcome);
  run.paused_us = live->outcome.longest_pause_us();
  run.has_result = answer.has_result;
  run.verdict = answer.verdict;
  run.renderings = answer.renderings;
  // The disk was too full for what it wanted to leave: that, and not what the hatch made of it, is what happened.
  const bool ended_for_it = state == State::failed || (state == State::cancelled && live->stopped_for_space);
  if (live->no_space && ended_for_it && problem) {
    state = State::failed;
    const std::string says = live->stopped_for_space ? "it was ended before the disk was full" : problem->detail;
    problem = Problem{"no-space", "there was no room for an artifact: " + says};
    problem->remedy = "make room in runs.directory, or lower runs.keep or runs.min_free";
  }
  // A success needs a start; a plugin that never said so is not believed more than that.
  if (run.state == State::queued && state == State::succeeded) {
    run.started = rfc3339(std::chrono::system_clock::now());
    live->move(State::running);
    live->tell_state();
  }
  if (live->preflight || !run.stored) {
    live->kept = std::move(answer.files);
  } else {
    run.bytes += answer.bytes;
    live->fresh = std::make_shared<const Files>(std::move(answer.files));  // written with the record
  }
  end(live, state, std::move(problem));
}

// Takes what the run says, one message at a time, so that a run that floods waits for itself.
asio::awaitable<void> Runner::read_channel(LivePtr live) {
  const std::shared_ptr<Receiver> channel = live->channel;
  while (auto message = co_await channel->next()) {
    if (message->type == "event") {
      std::string type;
      json::object data;
      if (!read_event(message->body, type, data)) continue;
      live->events.add(type, data);
      live->changed.notify();
      spill_events(live);
    } else if (!co_await artifacts_.take(live, *message) && message->type != "ended") {
      // `ended` is the plugin process's word, never the run's own. Reading up to 64 MiB is work for the pool.
      const json::value* text = message->body.if_contains("text");
      const bool small = !text || (text->is_string() && text->get_string().size() <= link::Outcome::max_inline);
      if (message->fds.empty() && small) {
        live->outcome.take(*message);
      } else {
        auto shared = std::make_shared<link::Message>(std::move(*message));
        auto work = [live, shared] { live->outcome.take(*shared); };
        co_await pool_.run(std::move(work));
      }
      live->decided = live->outcome.decided();
      if (live->decided) co_return live->changed.notify();
    }
  }
}

}  // namespace hatchd::runs
