#include "common/news.hpp"

#include <algorithm>
#include <cstddef>
#include <unordered_map>
#include <utility>
#include <vector>

namespace common {
namespace {

using Lines = std::vector<std::string_view>;
using Pair = std::pair<std::size_t, std::size_t>;  // of the line in `before` and the same in `after`

Lines lines_of(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The lines that stand once in both, in the order of `before`.
std::vector<Pair> unique_pairs(const Lines& before, const Lines& after) {
  struct Seen {
    std::size_t in_before = 0, in_after = 0, at_before = 0, at_after = 0;
  };
  std::unordered_map<std::string_view, Seen> seen;
  for (std::size_t i = 0; i < before.size(); ++i) {
    Seen& line = seen[before[i]];
    ++line.in_before;
    line.at_before = i;
  }
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto line = seen.find(after[i]);
    if (line == seen.end()) continue;
    ++line->second.in_after;
    line->second.at_after = i;
  }
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const Seen& line = seen[before[i]];
    if (line.in_before == 1 && line.in_after == 1) pairs.emplace_back(i, line.at_after);
  }
  return pairs;
}

// The most of them that have the same order in both (the longest increasing subsequence, by patience sorting).
std::vector<Pair> in_order(const std::vector<Pair>& pairs) {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::vector<std::size_t> tops;  // indices into `pairs`
  std::vector<std::size_t> previous(pairs.size(), none);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto pile = std::partition_point(tops.begin(), tops.end(),
                                           [&](std::size_t top) { return pairs[top].second < pairs[i].second; });
    if (pile != tops.begin()) previous[i] = *(pile - 1);
    if (pile == tops.end())
      tops.push_back(i);
    else
      *pile = i;
  }
  std::vector<Pair> chosen;
  for (std::size_t i = tops.empty() ? none : tops.back(); i != none; i = previous[i]) chosen.push_back(pairs[i]);
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace

std::string news(std::string_view before, std::string_view after) {
  const Lines old = lines_of(before), now = lines_of(after);
  const std::vector<Pair> pairs = unique_pairs(old, now);
  std::vector<bool> is_old(now.size());  // even where it was moved
  for (const Pair& pair : pairs) is_old[pair.second] = true;
  std::vector<Pair> anchors = in_order(pairs);
  anchors.emplace_back(old.size(), now.size());  // the end
  std::string out;
  std::size_t old_at = 0, now_at = 0;  // what is before these is compared
  for (const auto& [old_anchor, now_anchor] : anchors) {
    std::size_t old_end = old_anchor, now_end = now_anchor;
    // What is the same around an anchor belongs to it: its entry may begin or end with that line.
    while (old_end > old_at && now_end > now_at && old[old_end - 1] == now[now_end - 1]) {
      --old_end;
      --now_end;
    }
    while (old_at < old_end && now_at < now_end && old[old_at] == now[now_at]) {
      ++old_at;
      ++now_at;
    }
    // Between them the same lines in another order are old.
    std::unordered_map<std::string_view, std::size_t> left;
    for (std::size_t i = old_at; i < old_end; ++i) ++left[old[i]];
    for (std::size_t i = now_at; i < now_end; ++i) {
      if (is_old[i]) continue;
      const auto known = left.find(now[i]);
      if (known != left.end() && known->second > 0)
        --known->second;
      else
        (out += now[i]) += '\n';
    }
    old_at = old_anchor + 1;
    now_at = now_anchor + 1;
  }
  return out;
}

}  // namespace common
