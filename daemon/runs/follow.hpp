// What a run tells while it runs: its events, numbered, for whoever follows it. Kept in memory within bounds; when they
// are reached the oldest make room, and a follower that was too slow is told how many it missed. They go to disk, too,
// within another bound, for whoever follows a run that has ended.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace hatchd::runs {

struct Event {
  std::uint64_t number;  // from 1, without gaps
  std::string type;      // "state", "progress", "log", "output", "result"
  std::string data;      // one line of JSON
};

inline constexpr const char* events_file = "events";

struct Run;

class Events {
 public:
  static constexpr std::size_t max_count = 4096;
  static constexpr std::size_t max_bytes = 1024 * 1024;
  static constexpr std::size_t max_stored = 4 * 1024 * 1024;  // then one that says so, states and the result

  void add(std::string_view type, const boost::json::object& data);
  // The first event behind number `after` that is still there; nullptr when there is none yet.
  const Event* behind(std::uint64_t after) const;
  std::uint64_t last() const { return last_; }
  // Is everything behind `after` still there?
  bool whole_behind(std::uint64_t after) const;

  // Journal entries of what was added since the last call.
  bool has_unwritten() const { return !unwritten_.empty(); }
  std::string take_unwritten() { return std::exchange(unwritten_, {}); }
  // A journal entry of what will be told as the `ahead`th from now.
  std::string entry_of(std::uint64_t ahead, std::string_view type, const boost::json::object& data) const;
  // Nothing goes to disk any more.
  void stay_in_memory();

 private:
  std::deque<Event> events_;
  std::size_t bytes_ = 0;
  std::uint64_t last_ = 0;
  bool to_disk_ = true;
  std::string unwritten_;
  std::size_t stored_ = 0;
  bool cut_ = false;  // that max_stored is reached was written down
};

// An event as the text of a journal's entry, and back.
std::string to_line(const Event& event);
std::optional<Event> event_of(std::string_view line);

// The last events of a run: its last state, and how it ended.
boost::json::object state_event(const Run& run);
boost::json::object result_event(const Run& run);

// An `event` message of a run as type and data of an event. Hostile input: lengths are cut, unknown kinds are dropped.
bool read_event(const boost::json::object& message, std::string& type, boost::json::object& data);

// One event as server-sent text (HTML standard, section 9.2).
std::string to_sse(const Event& event);

}  // namespace hatchd::runs
