#include "runs/store.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "runs/follow.hpp"

namespace hatchd::runs {

void Store::put(const Run& run) {
  Entry& entry = entries_[run.id];
  bytes_ -= entry.bytes;
  entry = {run.hatch, run.target, run.state, run.effect, run.role, run.bytes + run.record_bytes};
  bytes_ += entry.bytes;
  if (is_over(run.state)) by_place_[{run.hatch, run.target}].insert(run.id);
}

const Entry* Store::find(const std::string& id) const {
  const auto at = entries_.find(id);
  return at == entries_.end() ? nullptr : &at->second;
}

void Store::forget(const std::string& id) {
  const auto at = entries_.find(id);
  if (at == entries_.end()) return;
  bytes_ -= at->second.bytes;
  const auto place = by_place_.find({at->second.hatch, at->second.target});
  if (place != by_place_.end()) {
    place->second.erase(id);
    if (place->second.empty()) by_place_.erase(place);
  }
  entries_.erase(at);
}

Store::Page Store::list(const Query& query) const {
  Page page;
  auto at = query.after.empty() ? entries_.end() : entries_.lower_bound(query.after);
  while (at != entries_.begin()) {
    const auto& [id, entry] = *--at;
    if (entry.hatch.empty() || (!query.hatch.empty() && entry.hatch != query.hatch) ||
        (!query.target.empty() && entry.target != query.target) || (query.state && entry.state != *query.state) ||
        (query.visible && !query.visible(entry)))
      continue;
    if (page.ids.size() == query.limit) {
      page.next = page.ids.back();
      break;
    }
    page.ids.push_back(id);
  }
  return page;
}

std::vector<std::string> Store::prune(WallTime now) {
  std::vector<std::string> gone;
  const auto drop = [&](const std::string& id) {
    gone.push_back(id);
    forget(gone.back());
  };
  std::vector<std::string> surplus;
  for (const auto& [place, ids] : by_place_) {
    std::size_t excess = ids.size() > keep_.count ? ids.size() - keep_.count : 0;
    for (auto id = ids.begin(); excess > 0; ++id, --excess) surplus.push_back(*id);
  }
  for (const std::string& id : surplus) drop(id);

  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    const bool too_much = bytes_ > keep_.bytes || entries_.size() > keep_.total;
    if (!too_much && now - time_of(at->first) <= keep_.age) break;  // all that follow are younger
    if (is_over(at->second.state)) drop(std::string(at->first));
    at = next;
  }
  std::sort(gone.begin(), gone.end());
  return gone;
}

History read_history(const Disk& disk, const std::function<void(Run)>& take) {
  History history;
  for (const std::string& id : disk.ids()) {
    if (!disk.tidy(id)) continue;
    ++history.runs;
    std::uint64_t size = 0;
    auto run = disk.read_record(id, &size);
    if (!run) {
      ++history.unreadable;
      Run unreadable;
      unreadable.id = id;
      unreadable.state = State::crashed;
      unreadable.effect = schema::Effect::disrupt;
      take(std::move(unreadable));
      continue;
    }
    disk.tidy_artifacts(*run);
    if (!is_over(run->state)) {
      ++history.interrupted;
      run->state = State::crashed;
      run->error = Problem{"run-crashed", "hatchd ended while the run was under way"};
      run->finished = rfc3339(std::chrono::system_clock::now());
      disk.mend(id, events_file);
      if (auto written = disk.write_record(*run, true); !written)
        log::warning("an interrupted run could not be recorded", {{"run", id}, {"problem", written.error().detail}});
    } else if (disk.tidy_result(*run)) {
      if (auto written = disk.write_record(*run, true); !written)
        log::warning("a result that is lost is still in its record",
                     {{"run", id}, {"problem", written.error().detail}});
    }
    run->record_bytes = size;
    take(std::move(*run));
  }
  return history;
}

}  // namespace hatchd::runs
