// What a dump remembers, and what has changed since.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "settings/section.hpp"

namespace settings {

struct Snapshot {
  std::string target;
  bool values = false;
  std::vector<Row> rows;                   // "limits.open_files" and its value, masked; ascending by name
  std::vector<std::string> sections = {};  // that were asked for; empty: all
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
// With names alone on either side, only what came and went; and only of sections that both were to have.
std::vector<Change> changes(const Snapshot& before, const Snapshot& after);

// How long ago a run was made, by its id: "12 s", "3 min", "2 h", "4 d"; "" of what is no id, or lies ahead.
std::string age_of(std::string_view run, std::chrono::system_clock::time_point now);

}  // namespace settings
