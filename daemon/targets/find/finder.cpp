#include "targets/find/finder.hpp"

#include <pwd.h>

#include <array>
#include <boost/json.hpp>
#include <charconv>

namespace hatchd::targets {

namespace json = boost::json;

namespace {
constexpr std::array<Matcher, 8> matchers{{{"pid", &by_pid, false},
                                           {"pidfile", &by_pidfile, false},
                                           {"exe", &by_exe, true},
                                           {"cmdline", &by_cmdline, true},
                                           {"name", &by_name, true},
                                           {"port", &by_port, false},
                                           {"unit", &by_unit, false},
                                           {"container", &by_container, false}}};
}

const Matcher* matcher_of(const json::object& match) {
  const Matcher* only = nullptr;
  for (const Matcher& matcher : matchers) {
    if (!match.contains(matcher.key)) continue;
    if (only) return nullptr;
    only = &matcher;
  }
  return only;
}

std::string matcher_names() {
  std::string names;
  for (const Matcher& matcher : matchers) (names += names.empty() ? "" : ", ") += matcher.key;
  return names;
}

bool is_matcher(std::string_view key) {
  for (const Matcher& matcher : matchers)
    if (matcher.key == key) return true;
  return false;
}

std::optional<uid_t> uid_of(const json::value& user) {
  if (user.is_int64() || user.is_uint64()) {
    json::error_code error;
    const auto number = user.to_number<uid_t>(error);
    if (error || number == static_cast<uid_t>(-1)) return std::nullopt;
    return number;
  }
  if (!user.is_string()) return std::nullopt;
  const std::string name(user.get_string());
  std::array<char, 4096> room;
  passwd entry{};
  passwd* result = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, room.data(), room.size(), &result) == 0 && result) return result->pw_uid;
  uid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size() || number == static_cast<uid_t>(-1)) return std::nullopt;
  return number;
}

std::optional<std::int64_t> number_value(const json::value& value, std::int64_t least, std::int64_t most) {
  if (!value.is_int64() && !value.is_uint64()) return std::nullopt;
  json::error_code error;
  const auto number = value.to_number<std::int64_t>(error);
  return error || number < least || number > most ? std::nullopt : std::optional(number);
}

Result<std::string> path_value(const json::value& value) {
  const json::string* text = value.if_string();
  if (!text || text->empty() || text->front() != '/') return refuse("malformed", "must be an absolute path");
  if (text->size() >= 4096) return refuse("malformed", "is longer than a path may be");
  std::string path(*text);
  if (path.find('\0') != std::string::npos) return refuse("malformed", "must not hold a NUL");
  if ((path + '/').find("/../") != std::string::npos) return refuse("malformed", "must not hold \"..\"");
  return path;
}

}  // namespace hatchd::targets
