#include "runs/audited.hpp"

#include <boost/json.hpp>

#include "runs/runner.hpp"

namespace hatchd::runs {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

// A disk that does not answer must not keep the caller: then nothing is done, and that is the answer.
constexpr auto patience = 5s;
constexpr std::size_t max_params = 16 * 1024;

json::object line_of(std::string_view event, const Run& run) {
  json::object line = audit::entry(event);
  line["run"] = run.id;
  line["hatch"] = run.hatch;
  if (!run.kind.empty()) line["kind"] = run.kind;
  line["effect"] = schema::to_string(run.effect);
  return line;
}

json::object params_of(const Run& run) {
  const std::size_t bytes = json::serialize(run.params).size();
  if (bytes <= max_params) return run.params;
  return {{"parameters_left_out", std::to_string(bytes) + " bytes; the run has them"}};
}

}  // namespace

Problem unwritable(const audit::Audit& audit) {
  Problem problem{"audit-unwritable",
                  "the audit cannot be written, so nothing is done that must be recorded: " + audit.why()};
  problem.remedy = "make room for it or mend it; it goes on by itself, and hatches that observe run meanwhile";
  return problem;
}

// 0: there is nothing to wait for.
std::uint64_t Runner::audit_begin(const LivePtr& live, const Order& order) {
  if (!audit_ || live->preflight) return 0;
  const Run& run = live->run;
  json::object line = line_of("begin", run);
  if (run.target.empty()) {
    line["target"] = nullptr;
  } else {
    json::object target{{"name", run.target}};
    for (const auto& [name, value] : order.target_identity) target[name] = value;
    line["target"] = std::move(target);
  }
  audit::add_caller(line, order.caller, order.origin);
  line["reason"] = run.reason.empty() ? json::value(nullptr) : json::value(run.reason);
  line["params"] = params_of(run);
  const bool acts = order.effect != schema::Effect::observe;
  const std::uint64_t number = audit_->write(line, acts);
  return acts ? number : 0;
}

asio::awaitable<Result<void>> Runner::audit_durable(std::uint64_t number) {
  if (number == 0) co_return Result<void>{};
  const SteadyTime until = std::chrono::steady_clock::now() + patience;
  while (audit_->fate(number) == audit::Audit::Fate::waiting && std::chrono::steady_clock::now() < until)
    co_await audited_.wait(until);
  if (audit_->fate(number) == audit::Audit::Fate::written) co_return Result<void>{};
  co_return tl::unexpected(unwritable(*audit_));
}

void Runner::audit_end(const LivePtr& live, const Order& order) {
  if (!audit_ || live->preflight) return;
  const Run& run = live->run;
  json::object line = line_of("end", run);
  if (run.target.empty()) {
    line["target"] = nullptr;
  } else {
    // The process that the run was given, where it came so far.
    json::object target{{"name", run.target}};
    if (run.target_pid > 0) {
      target["pid"] = run.target_pid;
      target["started"] = run.target_started;
    } else {
      for (const auto& [name, value] : order.target_identity) target[name] = value;
    }
    line["target"] = std::move(target);
  }
  audit::add_caller(line, order.caller, order.origin);
  line["outcome"] = to_string(run.state);
  line["code"] = run.error ? json::value(run.error->code) : json::value(nullptr);
  const std::string& detail = run.error ? run.error->detail : run.verdict;
  line["detail"] = detail.empty() ? json::value(nullptr) : json::value(detail.substr(0, 1000));
  line["duration_ms"] = run.duration_ms;
  line["paused_us"] = run.paused_us;
  json::array artifacts;
  for (const Artifact& artifact : run.artifacts)
    artifacts.push_back(json::object{{"name", artifact.name}, {"bytes", artifact.bytes}, {"sha256", artifact.sha256}});
  if (!artifacts.empty()) line["artifacts"] = std::move(artifacts);
  audit_->write(line, order.effect != schema::Effect::observe);
}

}  // namespace hatchd::runs
