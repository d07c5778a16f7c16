// Hatches that are not in a manifest: a plugin finds them in a target when it is asked, such as those inside an app. In
// the manifest stands one hatch for all of them, the family, which requires "members/1" (docs/writing-a-hatch.md) and is
// never listed itself.
#pragma once

#include <boost/json/array.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalogue/hatch.hpp"

namespace hatchd::catalogue {

inline constexpr std::string_view members_requirement = "members/1";

// What the configuration says of one hatch, by its id.
struct Setting {
  std::optional<bool> enabled;
  std::optional<std::chrono::milliseconds> timeout, cooldown;
  std::optional<unsigned> concurrency, queue;
  std::string role, effect;  // raise it
};
using Settings = std::map<std::string, Setting, std::less<>>;

// `described`: the `hatches` of the family's answer for `target`. It comes from the target, so what is no hatch is left
// out, and one whose parameters hatchd does not understand is listed and off.
std::vector<Hatch> members_of(const Hatch& family, const std::string& target, const boost::json::array& described,
                              const Settings& settings);

// Those that several targets have alike become one, bound to all of them.
std::vector<Hatch> merged(std::vector<Hatch> members);

}  // namespace hatchd::catalogue
