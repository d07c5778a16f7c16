#include "runs/store.hpp"

#include <algorithm>

namespace hatchd::runs {

namespace {

const std::string newest_id = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";  // of all that there can be

}  // namespace

void Store::put(const Run& run) {
  const auto [at, added] = entries_.try_emplace(run.id);
  Entry& entry = at->second;
  if (!added && !is_over(entry.state) && is_over(run.state)) {
    entry.ended = ++ends_;
    ended_last_ = run.id;
  }
  bytes_ -= entry.bytes;
  entry = {run.hatch,     run.target, run.state, run.effect, run.role, run.bytes + run.record_bytes,
           run.created(), entry.ended};
  bytes_ += entry.bytes;
  // What cannot be read has a place that nobody knows: it goes by its age and for its bytes alone.
  if (is_over(run.state) && !run.hatch.empty()) by_place_[{run.hatch, run.target}].emplace(entry.ended, run.id);
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
    place->second.erase({at->second.ended, id});
    if (place->second.empty()) by_place_.erase(place);
  }
  entries_.erase(at);
}

void Store::expect(std::vector<std::string> ids) { expected_ = std::move(ids); }

bool Store::expects(const std::string& id) const { return std::binary_search(expected_.begin(), expected_.end(), id); }

std::vector<std::string> Store::expected(std::size_t count) const {
  return {expected_.rbegin(), expected_.rbegin() + static_cast<std::ptrdiff_t>(std::min(count, expected_.size()))};
}

void Store::arrived(const std::string& id) {
  const auto at = std::lower_bound(expected_.begin(), expected_.end(), id);
  if (at != expected_.end() && *at == id) expected_.erase(at);
}

Store::Page Store::list(const Query& query) const {
  Page page;
  // What is expected is over: whoever ran it is gone.
  const bool wants_expected = !query.state || is_over(*query.state);
  auto first =
      query.after.empty() ? expected_.end() : std::lower_bound(expected_.begin(), expected_.end(), query.after);
  const std::string* expected = first == expected_.begin() || !wants_expected ? nullptr : &*--first;
  const std::string* seen = nullptr;
  auto at = query.after.empty() ? entries_.end() : entries_.lower_bound(query.after);
  while (at != entries_.begin()) {
    const auto& [id, entry] = *--at;
    if (expected && id < *expected) break;
    seen = &id;
    if (entry.hatch.empty() || (!query.hatch.empty() && entry.hatch != query.hatch) ||
        (!query.target.empty() && entry.target != query.target) || (query.state && entry.state != *query.state) ||
        (query.visible && !query.visible(entry)))
      continue;
    if (page.ids.size() == query.limit) {
      page.next = page.ids.back();
      return page;
    }
    page.ids.push_back(id);
  }
  if (expected) {
    page.next = seen ? *seen : query.after.empty() ? newest_id : query.after;
    page.whole = false;
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
    for (auto id = ids.begin(); excess > 0; ++id, --excess) surplus.push_back(id->second);
  }
  for (const std::string& id : surplus) drop(id);

  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    const auto& [id, entry] = *at;
    const bool too_much = bytes_ > keep_.bytes || entries_.size() > keep_.total;
    const bool ahead = entry.created > now, too_old = now - entry.created > keep_.age;
    if (!too_much && !too_old && !ahead) break;  // all that follow are younger
    if (is_over(entry.state) && (too_old || (too_much && id != ended_last_))) drop(std::string(id));
    at = next;
  }
  std::sort(gone.begin(), gone.end());
  return gone;
}

}  // namespace hatchd::runs
