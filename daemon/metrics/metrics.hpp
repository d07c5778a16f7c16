// What hatchd counts, under the names of DESIGN section 4: a contract, so a name, a label or a meaning never changes.
// Every series that can be known beforehand stands at 0 from the start, so that a rate sees its first event. No label
// holds a pid or a run's id.
//
// The front tells what happens (a request was answered, a run ended, …); GET /metrics (api/metrics.cpp) asks for the text.
#pragma once

#include <boost/json/array.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "catalogue/catalogue.hpp"
#include "metrics/family.hpp"
#include "metrics/targets.hpp"
#include "metrics/text.hpp"

namespace hatchd::metrics {

struct RunEnd {
  std::string hatch, target, profile, state;
  double duration_s = 0, pause_s = 0;
  double finished = 0;  // seconds since 1970
};

// A member of a hatch's result that is a metric: `value` of the result of every successful run sets the series of the
// run's profile and of the result's own `label`.
struct Reading {
  std::string_view hatch, metric, label, value;
};
// The reading of this hatch, or nullptr.
const Reading* reading_of(std::string_view hatch);

class Metrics {
 public:
  // `states`: those in which a run ends.
  Metrics(std::string_view version, std::vector<std::string> states);

  // The hatches, at start and after a reload. What was counted stays.
  void know(std::shared_ptr<const catalogue::Catalogue> catalogue);
  // Names of targets, of the configuration or found later: their series stand at 0 from here on.
  void know_targets(const std::vector<std::string>& names);
  void know_route(std::string_view method, std::string_view pattern, unsigned code);

  void request(std::string_view method, std::string_view pattern, unsigned code);
  void run_ended(const RunEnd& run);
  // From the history on disk: it happened before this process began, so it is not counted.
  void run_succeeded_before(const RunEnd& run);
  // A reading of a successful run, by its result's text. Without effect when the members are not there.
  void read(const Reading& reading, const std::string& profile, const boost::json::object& result);
  void plugin_ended(const std::string& plugin, bool idle);
  void plugin_started(const std::string& plugin);
  // Was a new configuration taken over? `now`: seconds since 1970.
  void reloaded(bool taken, double now);

  // The answer of `hatchd: targets`; nullptr when there was none.
  void look(const boost::json::array* targets);

  // `sees(hatch, target)`: whether the caller's scope shows them; "" stands for none.
  std::string text(Form form, const std::function<bool(std::string_view, std::string_view)>& sees) const;

 private:
  void know_runs(const std::string& target);

  std::shared_ptr<const catalogue::Catalogue> catalogue_;
  std::vector<std::string> states_;
  std::vector<std::string> targets_;  // known ones, sorted
  Reals build_info_, last_success_, queue_depth_, reload_taken_, reload_time_;
  Counters runs_, requests_, restarts_;
  Histograms duration_, pause_;
  Targets looked_;
  std::map<std::string, bool>
      fallen_;  // plugins whose process ended other than for want of work, not yet started again
};

}  // namespace hatchd::metrics
