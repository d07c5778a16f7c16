#include "runs/admission.hpp"

#include <algorithm>

namespace hatchd::runs {

namespace {

constexpr std::size_t max_states = 4096;
constexpr std::size_t remembered = 8;           // runs whose duration tells how long the next one takes
constexpr std::chrono::seconds kill_margin{3};  // a run that ignores its time limit is killed within it
constexpr auto long_ago = std::chrono::hours(24);

unsigned whole_seconds(SteadyTime::duration time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  return static_cast<unsigned>(std::clamp<std::int64_t>(seconds, 1, 30 * 24 * 3600));
}

std::string place_text(const catalogue::Hatch& hatch, const std::string& target) {
  return hatch.id + (target.empty() ? "" : " on " + target);
}

SteadyTime::duration rest_after(unsigned crashes) {
  if (crashes < Admission::tolerated_crashes) return {};
  const unsigned doubled = std::min(crashes - Admission::tolerated_crashes, 10u);
  return std::min<SteadyTime::duration>(Admission::shortest_rest * (1 << doubled), Admission::longest_rest);
}

}  // namespace

Admission::Key Admission::key_of(const catalogue::Hatch& hatch, const std::string& target) {
  return {hatch.id + " " + hatch.kind, target};
}

// As long as the longest of the last ones took; one that takes longer than that, as long as it may.
SteadyTime Admission::State::expected_end(const Running& run, SteadyTime now) const {
  if (took.empty()) return run.limit;
  const SteadyTime expected = run.begun + *std::max_element(took.begin(), took.end());
  return expected > now ? std::min(expected, run.limit) : run.limit;
}

SteadyTime Admission::room(const catalogue::Hatch& hatch, const State& state, SteadyTime now) const {
  std::vector<SteadyTime> ends;
  for (const auto& [slot, run] : state.running) ends.push_back(state.expected_end(run, now));
  std::sort(ends.begin(), ends.end());
  // Each end makes room, but begins a cool-down as well.
  SteadyTime rested = state.rest_until;
  std::size_t running = ends.size();
  for (const SteadyTime end : ends) {
    if (const SteadyTime at = std::max(now, rested); running < hatch.concurrency && at < end) return at;
    rested = std::max(rested, end + hatch.cooldown);
    --running;
  }
  return std::max(now, rested);
}

SteadyTime Admission::room_anywhere(SteadyTime now) const {
  SteadyTime first = SteadyTime::max();
  for (const auto& [key, state] : states_)
    for (const auto& [slot, run] : state.running) first = std::min(first, state.expected_end(run, now));
  for (const auto& [slot, limit] : dry_) first = std::min(first, limit);
  return std::max(first, now);
}

std::optional<Admission::Refusal> Admission::refusal(const catalogue::Hatch& hatch, const std::string& target,
                                                     const State& state, SteadyTime now) const {
  const bool rests = state.rest_until > now;
  // The rest after crashes is for the target's sake, so nobody waits for its end in a queue.
  if (rests && state.crashes >= tolerated_crashes) {
    const unsigned seconds = whole_seconds(state.rest_until - now);
    Problem problem{"cooldown", place_text(hatch, target) + " crashed " + std::to_string(state.crashes) +
                                    " times in a row and rests for " + std::to_string(seconds) + " s more"};
    problem.remedy = "look at the last of its runs: GET /v1/runs?state=crashed&hatch=" + hatch.id;
    return Refusal{std::move(problem), seconds};
  }
  const bool full = state.running.size() >= hatch.concurrency;
  const bool behind = !state.queue.empty();
  if (!full && !rests && !behind) {
    if (running_ < limits_.running) return std::nullopt;
    if (hatch.queue > 0 && waiting_ < limits_.waiting) return std::nullopt;
    return Refusal{
        Problem{"overloaded", std::to_string(running_) + " runs are under way, which is the limit of this hatchd "
                                                         "(runs.concurrency)"},
        whole_seconds(room_anywhere(now) - now)};
  }
  // Only who finds the place taken may wait for it: a cool-down is there to keep callers off.
  if (full || behind) {
    if (state.queue.size() < hatch.queue) {
      if (waiting_ < limits_.waiting) return std::nullopt;
      return Refusal{Problem{"overloaded", std::to_string(waiting_) + " runs are waiting, which is the limit"},
                     whole_seconds(std::max(room(hatch, state, now), room_anywhere(now)) - now)};
    }
    std::string why = place_text(hatch, target) + " is under way already; its limit is " +
                      std::to_string(hatch.concurrency) + " at a time";
    if (behind) why += ", and " + std::to_string(state.queue.size()) + " wait, which is the limit of its queue";
    return Refusal{Problem{"busy", std::move(why)}, whole_seconds(room(hatch, state, now) - now)};
  }
  const unsigned seconds = whole_seconds(room(hatch, state, now) - now);
  return Refusal{Problem{"cooldown", place_text(hatch, target) + " ran a moment ago and rests for " +
                                         std::to_string(seconds) + " s more"},
                 seconds};
}

tl::expected<std::shared_ptr<Admission::Slot>, Admission::Refusal> Admission::enter(const catalogue::Hatch& hatch,
                                                                                    const std::string& target,
                                                                                    SteadyTime now, bool dry) {
  std::shared_ptr<Slot> slot(new Slot(*this, hatch, target, dry));
  if (dry) {
    if (running_ >= limits_.running) {
      slot->admission_ = nullptr;
      return tl::unexpected(
          Refusal{Problem{"overloaded", std::to_string(running_) + " runs are under way, which is the limit"},
                  whole_seconds(room_anywhere(now) - now)});
    }
    ++running_;
    dry_[slot.get()] = now + hatch.timeout + kill_margin;
    return slot;
  }
  if (states_.size() >= max_states) tidy(now);
  State& state = states_[key_of(hatch, target)];
  if (auto refused = refusal(hatch, target, state, now)) {
    slot->admission_ = nullptr;
    return tl::unexpected(std::move(*refused));
  }
  if (state.queue.empty() && state.running.size() < hatch.concurrency && now >= state.rest_until &&
      running_ < limits_.running) {
    begin(state, *slot, now);
  } else {
    slot->waits_ = true;
    state.queue.push_back(slot.get());
    ++waiting_;
  }
  return slot;
}

void Admission::begin(State& state, Slot& slot, SteadyTime now) {
  ++running_;
  slot.begun_ = now;
  state.running[&slot] = {now, now + slot.timeout_ + kill_margin};
}

bool Admission::Slot::start(SteadyTime now, SteadyTime& again) {
  again = SteadyTime::max();
  if (!waits_ || !admission_) return !waits_;
  State& state = admission_->states_.at(key_);
  if (state.queue.front() != this || state.running.size() >= concurrency_ ||
      admission_->running_ >= admission_->limits_.running)
    return false;
  if (now < state.rest_until) {
    again = state.rest_until;
    return false;
  }
  state.queue.pop_front();
  --admission_->waiting_;
  waits_ = false;
  admission_->begin(state, *this, now);
  return true;
}

void Admission::Slot::leave(SteadyTime now, bool crashed) {
  Admission* admission = std::exchange(admission_, nullptr);
  if (!admission) return;
  if (dry_) {
    --admission->running_;
    admission->dry_.erase(this);
    return;
  }
  State& state = admission->states_.at(key_);
  if (waits_) {
    state.queue.remove(this);
    --admission->waiting_;
    return;
  }
  --admission->running_;
  state.running.erase(this);
  state.took.push_back(now - begun_);
  if (state.took.size() > remembered) state.took.erase(state.took.begin());
  state.crashes = crashed ? state.crashes + 1 : 0;
  state.rest_until = now + std::max(cooldown_, rest_after(state.crashes));
}

std::vector<Admission::Rest> Admission::resting(const catalogue::Hatch& hatch, SteadyTime now) const {
  std::vector<Rest> rests;
  const std::string id = key_of(hatch, "").first;
  for (auto at = states_.lower_bound({id, ""}); at != states_.end() && at->first.first == id; ++at)
    if (const State& state = at->second; state.crashes >= tolerated_crashes && state.rest_until > now)
      rests.push_back({at->first.second, state.crashes, whole_seconds(state.rest_until - now)});
  return rests;
}

void Admission::tidy(SteadyTime now) {
  std::erase_if(states_,
                [&](const auto& entry) { return entry.second.idle() && now - entry.second.rest_until > long_ago; });
  // Still too many: the rest forgets its cool-downs, which is better than growing without end.
  if (states_.size() >= max_states) std::erase_if(states_, [](const auto& entry) { return entry.second.idle(); });
}

}  // namespace hatchd::runs
