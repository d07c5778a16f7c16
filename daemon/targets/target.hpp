// One configured target: how it is found, what was found last, and since when it is gone.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/problem.hpp"
#include "targets/facts.hpp"
#include "targets/look.hpp"

namespace hatchd::targets {

inline constexpr std::size_t max_processes = 64;  // told and handed out of one target; more are counted

class Target {
 public:
  Target(std::string name, boost::json::object match, bool privileged);

  const std::string& name() const { return name_; }
  const boost::json::object& match() const { return match_; }
  // Whether anything can ever be found; false when the matcher or its user cannot be used.
  bool usable() const { return finder_ != nullptr; }

  // Whether it is time to look again: what was found is kept for a while as long as the main process lives, and what is
  // gone is not looked for more often than a client could ask.
  bool due(SteadyTime now) const;
  // What to look for; nullopt when there is nothing to be found now (the problem says why).
  std::optional<Search> search(SteadyTime now);
  void found(Search search);

  enum class State { up, gone, ambiguous };
  State state() const;
  // Why there is nothing to open. Only unless up.
  const Problem& problem() const { return problem_; }
  // Main first. Those that ended since the last look are not among them.
  std::vector<Held*> living();
  std::size_t counted() const { return counted_; }

 private:
  void gone(Problem problem);
  void hold(const std::vector<Seen>& seen);

  std::string name_;
  boost::json::object match_;
  Context context_;
  std::unique_ptr<Finder> finder_;  // null: problem_ will not change
  std::vector<Held> held_;
  std::size_t counted_ = 0;
  Problem problem_;
  bool ambiguous_ = false;
  bool was_up_ = false;
  WallTime gone_since_;
  std::optional<SteadyTime> looked_;
};

// A refusal for lack of rights over processes of `uid` (nullopt: several), naming those of `capabilities`
// ("sys_ptrace", …) that hatchd does not have.
Problem lacking(std::string detail, std::vector<std::string> capabilities, std::optional<uid_t> uid);

}  // namespace hatchd::targets
