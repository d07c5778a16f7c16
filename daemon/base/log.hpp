// One line for each event on stderr, where journald or the container's log picks it up:
//   log::warning("plugin process ended", {{"plugin", name}, {"signal", 11}});
// The message is constant text, everything variable is a field. Values are made printable, and secrets in them
// masked.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hatchd::log {

struct Field {
  std::string_view name;
  std::string value;

  Field(std::string_view name, std::string_view value) : name(name), value(value) {}
  Field(std::string_view name, const std::string& value) : name(name), value(value) {}
  Field(std::string_view name, const char* value) : name(name), value(value) {}
  template <class N>
  requires std::integral<N> Field(std::string_view name, N value) : name(name), value(std::to_string(value)) {}
};

enum class Level { debug, info, warning, error };

// `process` ("front", "plugin stack") stands in every line. Call once at start; again after fork() with the new name.
void start(std::string_view process, Level lowest = Level::info);

void write(Level level, std::string_view message, std::initializer_list<Field> fields);
inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::debug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::info, message, fields);
}
inline void warning(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::warning, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::error, message, fields);
}

}  // namespace hatchd::log
