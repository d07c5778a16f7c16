// All targets of the configuration, and those that its "*" makes: one for each systemd unit that fits the pattern.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "targets/target.hpp"

namespace hatchd::targets {

class Registry {
 public:
  Registry(const boost::json::object& targets, bool privileged, Own own);

  // Another configuration. A target whose matcher stays the same stays the process that it was: "pid" does not come to
  // mean a successor of that number.
  void reconfigure(const boost::json::object& targets);

  // Both look again where it is time to; all targets that are due share one pass over /proc.
  std::vector<Target*> all();
  Target* get(const std::string& name);  // nullptr: unknown
  // Whether "*" made it.
  bool from_pattern(const std::string& name) const { return made_.contains(name); }

 private:
  void refresh(const std::vector<Target*>& targets);
  void expand(std::chrono::milliseconds at_most_every);

  std::map<std::string, Target> named_, made_;
  boost::json::object pattern_;  // the match of "*"; empty: none
  Context pattern_context_;
  std::optional<SteadyTime> expanded_;
  bool privileged_;
  Own own_;
};

}  // namespace hatchd::targets
