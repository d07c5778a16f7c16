#include "catalogue/choose.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "schema/words.hpp"

namespace hatchd::catalogue {

Result<std::string> choose_target(const Hatch& hatch, std::optional<std::string_view> named,
                                  const std::vector<std::string>& names, std::string_view command) {
  const bool is_named = named && !named->empty();
  if (hatch.target == Needs::none) {
    if (!is_named) return std::string();
    Problem problem{"params-invalid", hatch.id + " works on no target"};
    problem.errors.push_back({"/target", "this hatch takes no target"});
    return tl::unexpected(std::move(problem));
  }

  std::vector<std::string> fitting;
  for (const std::string& name : names)
    if (hatch.applies_to(name)) fitting.push_back(name);

  if (is_named) {
    if (std::find(fitting.begin(), fitting.end(), *named) != fitting.end()) return std::string(*named);
    const std::string quoted = schema::quoted(boost::json::string(*named));
    Problem problem{"target-unknown", "there is no target " + quoted};
    if (std::find(names.begin(), names.end(), *named) != names.end())
      problem.detail = hatch.id + " does not apply to the target " + quoted;
    problem.candidates = fitting;
    const std::string near = schema::nearest(*named, {fitting.begin(), fitting.end()});
    if (!near.empty()) problem.remedy = "did you mean target=" + near + "?";
    return tl::unexpected(std::move(problem));
  }

  // A hatch that can do without does without: a test mail must not fail because the app that it could name is down.
  if (hatch.target == Needs::optional) return std::string();
  if (fitting.size() == 1) return fitting.front();
  Problem problem{"target-required", fitting.empty() ? hatch.id + " needs a target, and there is none"
                                                     : hatch.id + " needs a target, and there are several"};
  problem.candidates = fitting;
  problem.remedy = fitting.empty() ? "name one below \"targets\" in the configuration"
                                   : std::string(command) + " -d target=" + fitting.front();
  return tl::unexpected(std::move(problem));
}

}  // namespace hatchd::catalogue
