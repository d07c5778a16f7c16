#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/mask.hpp"
#include "hatch/json.hpp"

namespace hatchd::log {

namespace {
spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::debug: return spdlog::level::debug;
    case Level::info: return spdlog::level::info;
    case Level::warning: return spdlog::level::warn;
    case Level::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& logger() {
  static spdlog::logger instance{"hatchd", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
  return instance;
}
}  // namespace

void start(std::string_view process, Level lowest) {
  logger().set_level(level_of(lowest));
  // UTC like every other time of hatchd.
  logger().set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l " + std::string(process) + "[%P]: %v", spdlog::pattern_time_type::utc);
  logger().flush_on(spdlog::level::trace);
}

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (!logger().should_log(level_of(level))) return;
  const auto mask = mask::rules();
  std::string line = mask->text(message);
  for (const Field& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    constexpr std::size_t max_value = 2000;
    // Cut when it is masked: half of a secret has not the shape by which it is known.
    const std::string value = hatch::printable(mask->value(field.name, field.value).substr(0, max_value));
    if (value.empty() || value.find_first_of(" \"=") != std::string::npos)
      hatch::append_quoted(line, value);
    else
      line += value;
  }
  logger().log(level_of(level), spdlog::string_view_t{line.data(), line.size()});
}

}  // namespace hatchd::log
