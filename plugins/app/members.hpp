// What the processes of a target say that they can do: GET /hatches, read with suspicion.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "app/sockets.hpp"

namespace app {

// One hatch of one process, checked: the members have their types and bounds; `parameters` is an object that hatchd
// still checks against its own subset of JSON Schema.
struct Member {
  std::string name, title, documentation, effect, role, mark;
  boost::json::object parameters;
  std::int64_t timeout_ms = 0;
};

// The hatches of one GET /hatches; what is not one is left out. Throws hatch::Failure when the body is none at all.
std::vector<Member> read_members(std::string_view body);

// A process and what it said. `why`: it said nothing that could be used.
struct Process {
  Door door;
  std::vector<Member> members;
  std::string why;
  double ms = 0;

  const Member* find(std::string_view name) const;
};

// Asks all at once, within 200 ms. The connections `first` are used up.
std::vector<Process> ask_all(const hatch::Run& run, std::vector<Door> doors);

// "observe" < "act" < "disrupt"; what is none of them counts as the highest.
int rank(std::string_view effect);

// {"pid", "socket", "answered", "ms", "why"} of each, and the hatches of all: {"name", …, "pids": […]}, the highest effect
// of those who have it.
boost::json::array processes_json(const std::vector<Process>& processes);
boost::json::array hatches_json(const std::vector<Process>& processes);

}  // namespace app
