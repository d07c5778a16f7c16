// One hatch as the front knows it: what its manifest says, with what the configuration changed.
#pragma once

#include <algorithm>
#include <boost/json/object.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "access/access.hpp"
#include "schema/schema.hpp"

namespace hatchd::catalogue {

enum class Needs { none, optional, required };
std::string_view to_string(Needs needs);

struct Hatch {
  std::string id, kind, plugin;  // id + kind is unique
  std::string title, documentation;
  schema::Effect effect = schema::Effect::observe;  // after the configuration raised it
  access::Role role = access::Role::none;           // the configuration's own; the effect's counts beside it
  Needs target = Needs::none;
  bool interactive = false;
  bool preflight = false;
  std::chrono::milliseconds timeout{30000}, cooldown{0};
  std::chrono::microseconds max_pause{0};
  unsigned concurrency = 1;        // for each target
  unsigned queue = 0;              // how many may wait for their turn, for each target
  boost::json::object parameters;  // schema
  std::vector<std::string> flags, capabilities, renderings, artifact_types, requirements, profiles;
  bool enabled = false;
  std::string why_not;                // when it is not enabled
  std::string remedy;                 // and the key that enables it, where there is one
  std::vector<std::string> bound_to;  // the only targets that it applies to (recipes, members); empty: every one
  std::string family;                 // of a member (members.hpp): the hatch that runs it
  std::string stale;                  // of a member: why its target could not be asked just now

  // The lowest role that may run it without raising its effect by parameters.
  access::Role least_role() const { return std::max(role, access::role_for(effect)); }
  // It says when it begins to act (hatch/act.hpp), and may be begun before it is on record.
  bool looks_first() const;
  bool applies_to(std::string_view name) const {
    return target != Needs::none &&
           (bound_to.empty() || std::find(bound_to.begin(), bound_to.end(), name) != bound_to.end());
  }
};

}  // namespace hatchd::catalogue
