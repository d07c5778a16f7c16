// What a run tells while it runs: its events, numbered, for whoever follows it. Kept in memory within bounds; when they
// are reached the oldest make room, and a follower that was too slow is told how many it missed.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace hatchd::runs {

struct Event {
  std::uint64_t number;  // from 1, without gaps
  std::string type;      // "state", "progress", "log", "output", "result"
  std::string data;      // one line of JSON
};

class Events {
 public:
  static constexpr std::size_t max_count = 4096;
  static constexpr std::size_t max_bytes = 1024 * 1024;

  void add(std::string_view type, const boost::json::object& data);
  // The first event behind number `after` that is still there; nullptr when there is none yet.
  const Event* behind(std::uint64_t after) const;
  std::uint64_t last() const { return last_; }

 private:
  std::deque<Event> events_;
  std::size_t bytes_ = 0;
  std::uint64_t last_ = 0;
};

// An `event` message of a run as type and data of an event. Hostile input: lengths are cut, unknown kinds are dropped.
bool read_event(const boost::json::object& message, std::string& type, boost::json::object& data);

// One event as server-sent text (HTML standard, section 9.2).
std::string to_sse(const Event& event);

}  // namespace hatchd::runs
