#include "runs/admission.hpp"

#include <algorithm>

namespace hatchd::runs {

namespace {

constexpr std::size_t max_places = 4096;

unsigned whole_seconds(std::chrono::steady_clock::duration time) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
  return static_cast<unsigned>(std::clamp<std::int64_t>(seconds, 1, 24 * 3600));
}

std::string key_of(const catalogue::Hatch& hatch, const std::string& target) {
  return hatch.id + " " + hatch.kind + " " + target;
}

std::string place_text(const catalogue::Hatch& hatch, const std::string& target) {
  return hatch.id + (target.empty() ? "" : " on " + target);
}

}  // namespace

tl::expected<void, Admission::Refusal> Admission::enter(const catalogue::Hatch& hatch, const std::string& target,
                                                        SteadyTime now, bool dry) {
  if (running_ >= max_running)
    return tl::unexpected(Refusal{
        Problem{"busy", std::to_string(running_) + " runs are under way, which is the limit of this hatchd"}, 1});
  if (dry) return ++running_, tl::expected<void, Refusal>{};
  if (places_.size() >= max_places) tidy(now);
  Place& place = places_[key_of(hatch, target)];
  if (place.running >= hatch.concurrency) {
    // Expected to end when the one before took as long; never later than its time limit.
    const auto elapsed = now - place.latest_start;
    const auto limit = hatch.timeout - elapsed;
    const auto expected = std::min<std::chrono::steady_clock::duration>(place.last_took - elapsed, limit);
    return tl::unexpected(Refusal{Problem{"busy", place_text(hatch, target) + " is under way already; its limit is " +
                                                      std::to_string(hatch.concurrency) + " at a time"},
                                  whole_seconds(expected)});
  }
  if (place.ran && now < place.last_end + hatch.cooldown) {
    const unsigned seconds = whole_seconds(place.last_end + hatch.cooldown - now);
    return tl::unexpected(Refusal{Problem{"cooldown", place_text(hatch, target) + " ran a moment ago and rests for " +
                                                          std::to_string(seconds) + " s more"},
                                  seconds});
  }
  ++place.running;
  ++running_;
  place.latest_start = now;
  return {};
}

void Admission::leave(const catalogue::Hatch& hatch, const std::string& target, SteadyTime begun, SteadyTime now,
                      bool dry) {
  --running_;
  if (dry) return;
  Place& place = places_[key_of(hatch, target)];
  --place.running;
  place.ran = true;
  place.last_end = now;
  place.last_took = now - begun;
}

void Admission::tidy(SteadyTime now) {
  constexpr auto longest_cooldown = std::chrono::hours(24);
  std::erase_if(places_, [&](const auto& entry) {
    return entry.second.running == 0 && now - entry.second.last_end > longest_cooldown;
  });
  // Still too many: the rest forgets its cool-downs, which is better than growing without end.
  if (places_.size() >= max_places) std::erase_if(places_, [](const auto& entry) { return entry.second.running == 0; });
}

}  // namespace hatchd::runs
