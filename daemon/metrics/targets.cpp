#include "metrics/targets.hpp"

#include <boost/json.hpp>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "metrics/time.hpp"

namespace hatchd::metrics {

namespace json = boost::json;

namespace {

std::optional<double> real_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (!value || !value->is_number()) return std::nullopt;
  return value->to_number<double>();
}

// The sum over all processes that may be read; nullopt when none may.
std::optional<double> sum_of(const json::array& processes, std::string_view name) {
  std::optional<double> sum;
  for (const json::value& value : processes)
    if (const json::object* process = value.if_object())
      if (const auto part = real_of(*process, name)) sum = sum.value_or(0) + *part;
  return sum;
}

}  // namespace

Targets::Targets()
    : up_({"hatchd_target_up",
           Type::gauge,
           "1: the target is there; 0: it is gone, or several processes match where one was meant.",
           {"target"}}),
      cpu_({"hatchd_target_cpu_seconds_total",
            Type::counter,
            "CPU time of the target's processes; what has ended counts on as far as it was seen.",
            {"target"}}),
      memory_({"hatchd_target_resident_memory_bytes",
               Type::gauge,
               "Resident memory of the target's processes together.",
               {"target"}}),
      threads_({"hatchd_target_threads", Type::gauge, "Threads of the target's processes together.", {"target"}}),
      open_fds_({"hatchd_target_open_fds",
                 Type::gauge,
                 "Open descriptors of that process of the target which is nearest to its limit.",
                 {"target"}}),
      max_fds_(
          {"hatchd_target_max_fds", Type::gauge, "The limit of open descriptors of the same process.", {"target"}}),
      started_({"hatchd_target_start_time_seconds",
                Type::gauge,
                "When the target's main process started, in seconds since 1970.",
                {"target"}}) {}

void Targets::lose_sight() {
  for (Reals* family : {&up_, &cpu_, &memory_, &threads_, &open_fds_, &max_fds_, &started_}) family->clear();
}

void Targets::look(const json::array& targets) {
  lose_sight();
  const std::string now = rfc3339(std::chrono::system_clock::now());
  std::map<std::string, Cpu> before = std::move(cpus_);
  cpus_.clear();
  for (const json::value& value : targets) {
    const json::object* target = value.if_object();
    if (!target || cpus_.size() >= max_series) continue;
    const std::string name = text_of(*target, "name");
    if (const auto known = before.find(name); known != before.end()) cpus_[name] = std::move(known->second);
    up_.at({name}) = text_of(*target, "state") == "up" ? 1 : 0;
    const json::array none;
    const json::array* processes = array_of(*target, "processes");
    look_at(name, processes ? *processes : none, now);
  }
}

void Targets::look_at(const std::string& name, const json::array& processes, const std::string& now) {
  cpu_.at({name}) = count_cpu(cpus_[name], processes, now);
  if (const auto sum = sum_of(processes, "resident_bytes")) memory_.at({name}) = *sum;
  if (const auto sum = sum_of(processes, "threads")) threads_.at({name}) = *sum;
  double fullest = -1;
  for (const json::value& value : processes) {
    const json::object* process = value.if_object();
    if (!process) continue;
    const auto open = real_of(*process, "open_fds"), limit = real_of(*process, "max_fds");
    const double part = !open ? -1 : limit && *limit > 0 ? *open / *limit : 0;
    if (part > fullest) {
      fullest = part;
      open_fds_.at({name}) = *open;
      if (limit) max_fds_.at({name}) = *limit;
    }
    if (!flag_of(*process, "main")) continue;
    if (const auto time = unix_seconds(text_of(*process, "started"))) started_.at({name}) = *time;
  }
}

// A sum over living processes would fall whenever a worker is replaced, which to Prometheus is a counter that began anew.
// So only what each process used since the last look is added.
double Targets::count_cpu(Cpu& cpu, const json::array& processes, const std::string& now) {
  std::map<std::pair<std::int64_t, std::int64_t>, double> living;
  for (const json::value& value : processes) {
    const json::object* process = value.if_object();
    const auto used = process ? real_of(*process, "cpu_seconds") : std::nullopt;
    if (!used) continue;
    const std::pair key{number_of(*process, "pid"), number_of(*process, "started_ticks")};
    living[key] = *used;
    const auto known = cpu.of.find(key);
    if (known != cpu.of.end())
      cpu.total += std::max(0.0, *used - known->second);
    else if (cpu.looked.empty() || text_of(*process, "started") > cpu.looked)  // else it was there and only not told
      cpu.total += *used;
  }
  cpu.of = std::move(living);
  cpu.looked = now;
  return cpu.total;
}

void Targets::write(Text& text) const {
  for (const Reals* family : {&up_, &cpu_, &memory_, &threads_, &open_fds_, &max_fds_, &started_}) text.add(*family);
}

}  // namespace hatchd::metrics
