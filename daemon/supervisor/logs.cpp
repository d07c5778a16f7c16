#include "supervisor/logs.hpp"

#include <algorithm>
#include <boost/json/value.hpp>

#include "base/clock.hpp"
#include "base/json.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;

json::object logs_of(const config::Config& config) {
  json::object logs;
  for (const auto& target : config.targets) {
    const json::object* match = target.value().if_object();
    const json::object* log = match ? object_of(*match, "log") : nullptr;
    if (!log) continue;
    json::object copy = *log;
    if (const std::string within = text_of(copy, "within"); !within.empty())
      copy["within_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(parse_duration(within)).count();
    copy.erase("within");
    logs[target.key()] = std::move(copy);
  }
  return logs;
}

bool need_programs(const json::object& logs) {
  return std::any_of(logs.begin(), logs.end(), [](const auto& entry) {
    const json::object& log = entry.value().as_object();
    return log.contains("journal") || log.contains("command");
  });
}

json::object without_logs(json::object targets) {
  for (auto& target : targets)
    if (json::object* match = target.value().if_object())
      if (const json::object* log = object_of(*match, "log"); log && (log->contains("command") || log->contains("url")))
        match->erase("log");
  return targets;
}

}  // namespace hatchd::supervisor
