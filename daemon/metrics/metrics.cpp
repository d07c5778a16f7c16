#include "metrics/metrics.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "base/json.hpp"

namespace hatchd::metrics {

namespace json = boost::json;

namespace {

constexpr std::array readings{Reading{"queue.ping", "hatchd_queue_depth", "queue", "depth"}};

// A stranger chooses the method, so only those that mean something have a series.
std::string_view method_label(std::string_view method) {
  for (const std::string_view known : {"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
    if (method == known) return known;
  return "other";
}

}  // namespace

const Reading* reading_of(std::string_view hatch) {
  const auto* const found =
      std::find_if(readings.begin(), readings.end(), [&](const Reading& reading) { return reading.hatch == hatch; });
  return found == readings.end() ? nullptr : found;
}

Metrics::Metrics(std::string_view version, std::vector<std::string> states)
    : states_(std::move(states)),
      targets_{""},
      build_info_({"hatchd_build_info", Type::gauge, "The version of hatchd that answers; always 1.", {"version"}}),
      last_success_({"hatchd_run_last_success_timestamp_seconds",
                     Type::gauge,
                     "When a run last succeeded, in seconds since 1970, restarts of hatchd included; 0 for never.",
                     {"hatch", "target", "profile"}}),
      queue_depth_({"hatchd_queue_depth",
                    Type::gauge,
                    "Messages that waited in the queue when a run last looked.",
                    {"profile", "queue"}}),
      reload_taken_({"hatchd_config_last_reload_successful",
                     Type::gauge,
                     "1: the configuration is the one in the files as of the last reload, or start; 0: it was refused.",
                     {}}),
      reload_time_({"hatchd_config_last_reload_success_timestamp_seconds",
                    Type::gauge,
                    "When a configuration was last taken over by a reload, in seconds since 1970; 0 for never.",
                    {}}),
      runs_({"hatchd_runs_total", Type::counter, "Runs that have ended, by how.", {"hatch", "target", "state"}}),
      requests_({"hatchd_http_requests_total",
                 Type::counter,
                 "Requests answered, by route pattern; \"other\" where none matched.",
                 {"route", "method", "code"}}),
      restarts_({"hatchd_plugin_restarts_total",
                 Type::counter,
                 "Times that a plugin's process was started again after it had ended other than for want of work.",
                 {"plugin"}}),
      duration_({"hatchd_run_duration_seconds",
                 Type::histogram,
                 "How long runs took, from their acceptance to their end.",
                 {"hatch"}}),
      pause_({"hatchd_run_pause_seconds",
              Type::histogram,
              "The longest that a run held any one thread of its target.",
              {"hatch"}}) {
  build_info_.at({std::string(version)}) = 1;
  reload_taken_.at({}) = 1;
  reload_time_.at({}) = 0;
}

void Metrics::know(std::shared_ptr<const catalogue::Catalogue> catalogue) {
  catalogue_ = std::move(catalogue);
  for (const catalogue::Hatch& hatch : catalogue_->hatches()) {
    restarts_.know({hatch.plugin});
    if (!hatch.enabled) continue;
    duration_.know({hatch.id});
    if (hatch.max_pause.count() > 0) pause_.know({hatch.id});
  }
  for (const std::string& target : targets_) know_runs(target);
}

void Metrics::know_targets(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto at = std::lower_bound(targets_.begin(), targets_.end(), name);
    if ((at != targets_.end() && *at == name) || targets_.size() >= max_series) continue;
    targets_.insert(at, name);
    know_runs(name);
  }
}

void Metrics::know_runs(const std::string& target) {
  if (!catalogue_) return;
  for (const catalogue::Hatch& hatch : catalogue_->hatches()) {
    if (!hatch.enabled || (target.empty() ? hatch.target == catalogue::Needs::required : !hatch.applies_to(target)))
      continue;
    for (const std::string& state : states_) runs_.know({hatch.id, target, state});
    if (hatch.profiles.empty()) last_success_.know({hatch.id, target, ""});
    for (const std::string& profile : hatch.profiles) last_success_.know({hatch.id, target, profile});
  }
}

void Metrics::know_route(std::string_view method, std::string_view pattern, unsigned code) {
  requests_.know({std::string(pattern), std::string(method_label(method)), std::to_string(code)});
}

void Metrics::request(std::string_view method, std::string_view pattern, unsigned code) {
  const std::string_view route = pattern.empty() ? "other" : pattern, label = method_label(method);
  const std::string status = std::to_string(code);
  std::uint64_t* known = requests_.find({route, label, status});
  ++(known ? *known : requests_.at({std::string(route), std::string(label), status}));
}

void Metrics::run_ended(const RunEnd& run) {
  ++runs_.at({run.hatch, run.target, run.state});
  duration_.at({run.hatch}).observe(run.duration_s);
  if (run.pause_s > 0 || pause_.series().contains({run.hatch})) pause_.at({run.hatch}).observe(run.pause_s);
  run_succeeded_before(run);
}

void Metrics::run_succeeded_before(const RunEnd& run) {
  if (run.state != "succeeded") return;
  double& last = last_success_.at({run.hatch, run.target, run.profile});
  last = std::max(last, run.finished);
}

void Metrics::read(const Reading& reading, const std::string& profile, const json::object& result) {
  const std::string label = text_of(result, reading.label);
  const json::value* value = result.if_contains(reading.value);
  if (label.empty() || !value || !value->is_number() || reading.metric != queue_depth_.about().name) return;
  queue_depth_.at({profile, label}) = value->to_number<double>();
}

void Metrics::plugin_ended(const std::string& plugin, bool idle) {
  if (!idle && restarts_.series().contains({plugin})) fallen_[plugin] = true;
}

void Metrics::plugin_started(const std::string& plugin) {
  if (fallen_.erase(plugin) > 0) ++restarts_.at({plugin});
}

void Metrics::reloaded(bool taken, double now) {
  reload_taken_.at({}) = taken ? 1 : 0;
  if (taken) reload_time_.at({}) = now;
}

void Metrics::look(const json::array* targets) {
  if (!targets) return looked_.lose_sight();
  looked_.look(*targets);
  std::vector<std::string> names;
  for (const json::value& value : *targets)
    if (const json::object* target = value.if_object()) names.push_back(text_of(*target, "name"));
  know_targets(names);
}

std::string Metrics::text(Form form, const std::function<bool(std::string_view, std::string_view)>& sees) const {
  Text text(form, [&](const About& about, const Labels& values) {
    std::string_view hatch, target;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (about.labels[i] == "hatch") hatch = values[i];
      if (about.labels[i] == "target") target = values[i];
    }
    return sees(hatch, target);
  });
  text.add(build_info_);
  text.add(runs_);
  text.add(duration_);
  text.add(pause_);
  text.add(last_success_);
  looked_.write(text);
  text.add(queue_depth_);
  text.add(requests_);
  text.add(restarts_);
  text.add(reload_taken_);
  text.add(reload_time_);
  return text.finish();
}

}  // namespace hatchd::metrics
