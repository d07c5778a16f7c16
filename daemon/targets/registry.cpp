#include "targets/registry.hpp"

#include <fcntl.h>
#include <fnmatch.h>

#include <boost/json.hpp>
#include <cctype>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "hatch/json.hpp"
#include "targets/find/cgroup.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {
constexpr std::size_t max_made = 256;
constexpr std::string_view suffix = ".service";
}  // namespace

Registry::Registry(const json::object& targets, bool privileged, Own own) : privileged_(privileged), own_(own) {
  reconfigure(targets);
}

void Registry::reconfigure(const json::object& targets) {
  std::map<std::string, Target> before = std::move(named_);
  named_.clear();
  json::object pattern;
  for (const auto& [key, match] : targets) {
    if (!match.is_object()) continue;
    const std::string name(key);
    const auto known = before.find(name);
    if (name == "*")
      pattern = match.get_object();
    else if (known != before.end() && known->second.usable() && known->second.match() == match.get_object())
      named_.emplace(name, std::move(known->second));
    else
      named_.try_emplace(name, name, match.get_object(), privileged_);
    made_.erase(name);
  }
  if (pattern != pattern_) {
    made_.clear();
    expanded_.reset();
    pattern_ = std::move(pattern);
    pattern_context_ = {};
    pattern_context_.privileged = privileged_;
    if (const json::value* user = pattern_.if_contains("user")) {
      pattern_context_.user = uid_of(*user);
      if (!pattern_context_.user) pattern_.clear();  // check() has said so; without the user it must not match
    }
  }
  all();  // the first look fixes what a "pid" means
}

std::vector<Target*> Registry::all() {
  expand(std::chrono::milliseconds(2000));
  std::vector<Target*> targets;
  for (auto& [name, target] : named_) targets.push_back(&target);
  for (auto& [name, target] : made_) targets.push_back(&target);
  refresh(targets);
  return targets;
}

Target* Registry::get(const std::string& name) {
  auto found = named_.find(name);
  if (found == named_.end()) {
    if (!made_.contains(name)) expand(std::chrono::milliseconds(200));
    found = made_.find(name);
    if (found == made_.end()) return nullptr;
  }
  refresh({&found->second});
  return &found->second;
}

void Registry::refresh(const std::vector<Target*>& targets) {
  const SteadyTime now = std::chrono::steady_clock::now();
  std::vector<Search> searches;
  std::vector<Target*> searching;
  for (Target* target : targets) {
    if (!target->due(now)) continue;
    if (auto search = target->search(now)) {
      searches.push_back(std::move(*search));
      searching.push_back(target);
    }
  }
  if (searches.empty()) return;
  look(searches, own_);
  for (std::size_t i = 0; i < searches.size(); ++i) searching[i]->found(std::move(searches[i]));
}

void Registry::expand(std::chrono::milliseconds at_most_every) {
  const std::string pattern = text_of(pattern_, "unit");
  const SteadyTime now = std::chrono::steady_clock::now();
  if (pattern.empty() || (expanded_ && now - *expanded_ < at_most_every)) return;
  expanded_ = now;
  const std::string full = std::string_view(pattern).ends_with(suffix) ? pattern : pattern + std::string(suffix);
  const UniqueFd proc{::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  each_entry(proc.get(), ".", [&](const char* entry) {
    if (!std::isdigit(static_cast<unsigned char>(*entry))) return true;
    const UniqueFd directory{::openat(proc.get(), entry, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) return true;
    for (const Cgroup& cgroup : read_cgroups(directory.get())) {
      const std::string unit = unit_of(cgroup);
      if (unit.empty() || ::fnmatch(full.c_str(), unit.c_str(), 0) != 0 ||
          !admitted(cgroup, directory.get(), pattern_context_))
        continue;
      const std::string name = unit.substr(0, unit.size() - suffix.size());
      if (hatch::printable(unit) != unit || named_.contains(name) || made_.contains(name)) continue;
      json::object match = pattern_;
      match["unit"] = unit;
      made_.try_emplace(name, name, std::move(match), privileged_);
    }
    return made_.size() < max_made;
  });
}

}  // namespace hatchd::targets
