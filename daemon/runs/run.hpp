// A run: one invocation of a hatch, as it is recorded and shown (DESIGN section 4, "The run"), and the states it goes
// through. The record holds what a client sees and a few members more that the daemon needs to judge and to tidy up.
#pragma once

#include <sys/types.h>

#include <array>
#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/access.hpp"
#include "base/clock.hpp"
#include "base/problem.hpp"
#include "schema/schema.hpp"

namespace hatchd::runs {

enum class State { queued, running, succeeded, failed, cancelled, timed_out, crashed };

inline constexpr std::array all_states{State::queued,    State::running,   State::succeeded, State::failed,
                                       State::cancelled, State::timed_out, State::crashed};

std::string_view to_string(State state);  // "timed-out"
std::optional<State> parse_state(std::string_view text);
constexpr bool is_over(State state) { return state != State::queued && state != State::running; }

// Every move there is; may_move() looks it up, and the unit test walks it.
struct Move {
  State from, to;
  const char* when;
};
inline constexpr Move moves[] = {
    {State::queued, State::running, "its process was started"},
    {State::queued, State::failed, "its plugin could not be started, or refused it"},
    {State::queued, State::cancelled, "cancelled before it started"},
    {State::queued, State::timed_out, "its plugin ended it at its deadline before it said that it had started"},
    {State::queued, State::crashed, "its plugin or hatchd ended before it started"},
    {State::running, State::succeeded, "it answered"},
    {State::running, State::failed, "it said that it failed"},
    {State::running, State::cancelled, "it was cancelled and ended"},
    {State::running, State::timed_out, "it was out of time and ended"},
    {State::running, State::crashed, "it ended without an answer"},
};
bool may_move(State from, State to);

struct Artifact {
  std::string name;  // as the plugin named it: printable, no '/'
  std::string media_type;
  std::uint64_t bytes = 0;
  std::string sha256;   // 64 hex digits
  unsigned number = 0;  // its file: artifacts/NUMBER, a name of our own making
};

// The time in a ULID.
WallTime time_of(std::string_view ulid);

struct Run {
  std::string id;  // ULID: sorts in the order of making, and says when that was if no clock was wrong
  std::string hatch, kind, plugin;
  std::string target;  // "" for none
  pid_t target_pid = 0;
  std::string target_started;
  std::string caller, via, login;
  std::optional<uid_t> uid;
  std::string reason, cause, parent;
  boost::json::object params;  // masked
  State state = State::queued;
  std::string started, finished;  // RFC 3339; "" for not yet
  std::int64_t duration_ms = 0, paused_us = 0;
  std::optional<Problem> error;
  std::vector<Artifact> artifacts;

  // Not shown, or shown elsewhere.
  std::optional<WallTime> clock;  // what the clock said when it was made; nullopt: what the id says
  std::string verdict;            // the result's sentence, for lists
  bool has_result = false;
  std::vector<std::string> renderings;              // stored beside the result
  schema::Effect effect = schema::Effect::observe;  // what reading it takes (access::authorize)
  access::Role role = access::Role::none;
  std::uint64_t bytes = 0;  // result, renderings, events and artifacts on disk
  // Result, renderings and events of a run that said little, by the names of the files that they would be: they lie in the
  // record, since a file costs more than what is in it (disk.hpp). `bytes` does not count them.
  std::map<std::string, std::string> texts;
  bool stored = true;              // false: all of it, or its result, is in memory only, since the disk had no room
  std::uint64_t record_bytes = 0;  // of the record itself, as it lies on disk

  WallTime created() const { return clock.value_or(time_of(id)); }
};

// What run.json holds, and back. Reading tolerates absent members: an older hatchd may have written it.
boost::json::object to_record(const Run& run);
Result<Run> from_record(const boost::json::object& record);

// The run as a client sees it, without its result.
boost::json::object to_json(const Run& run);
// The same as pretty text with `result` (JSON, "" for none) in its place; refused where that is no JSON. `indent`: how
// deep the run stands in the text around it.
Result<std::string> to_text(const Run& run, std::string_view result, unsigned indent = 0);

// May an artifact or a rendering be called so?
bool is_artifact_name(std::string_view name);
bool is_rendering_name(std::string_view name);
bool is_media_type(std::string_view text);

// A path segment with everything but unreserved characters percent-encoded (RFC 3986, section 2.3).
std::string encode_segment(std::string_view text);

}  // namespace hatchd::runs
