// What a dump remembers, and what has changed since.
#pragma once

#include "settings/section.hpp"

namespace settings {

struct Snapshot {
  std::string target;
  bool values = false;
  std::vector<Row> rows;  // "limits.open_files" and its value, masked; ascending by name
};

// Of the sections as they are shown; what changes by itself, such as a clock, is left out.
Snapshot snapshot_of(std::string target, bool values, const std::vector<Section>& sections, const hatch::Mask& mask);

// Keeps it in the plugin's cache folder under the run's id, whole or not at all, and forgets the oldest beyond
// max_snapshots. 0 or an errno.
constexpr std::size_t max_snapshots = 64;
int save(int cache, std::string_view run, const Snapshot& snapshot);

// nullopt: there is none of that run, or no longer, or what is there is none.
std::optional<Snapshot> load(int cache, const std::string& run);

// The newest that is kept of that target, with the run that it is of; with values where `values`.
std::optional<std::pair<std::string, Snapshot>> newest(int cache, const std::string& target, bool values);

struct Change {
  std::string name;
  std::optional<std::string> was, now;  // none: it was, or is, not there
};
// With names alone on either side, only what came and went.
std::vector<Change> changes(const Snapshot& before, const Snapshot& after);

}  // namespace settings
