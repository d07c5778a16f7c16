#include "app/settings.hpp"

#include <boost/json.hpp>

#include "app/exchange.hpp"
#include "app/members.hpp"
#include "app/sockets.hpp"

namespace app {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view stars = "******";  // hatchkit/masking.py
constexpr std::size_t max_answer = 1024 * 1024, max_value = 16 * 1024;
constexpr auto patience = 2s;

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

// Lists and null have no likeness in an environment.
void take(const std::string& name, const json::value& value, Variables& values, bool nested) {
  if (const json::string* text = value.if_string()) {
    if (text->size() <= max_value) values.emplace(name, *text);
  } else if (value.is_bool() || value.is_int64() || value.is_uint64()) {
    values.emplace(name, json::serialize(value));
  } else if (const json::object* object = value.if_object(); object && !nested) {
    for (const auto& member : *object) take(name + "_" + upper(member.key()), member.value(), values, true);
  }
}

// Credentials in addresses as hatchkit masks them: all between "://" and '@'.
std::string masked(std::string_view text) {
  std::string out;
  for (;;) {
    const std::size_t scheme = text.find("://");
    if (scheme == std::string_view::npos) return out += text;
    const std::size_t from = scheme + 3, end = text.find_first_of(" \t\r\n/@", from);
    out += text.substr(0, from);
    const bool credentials = end != std::string_view::npos && text[end] == '@';
    if (credentials) out += stars;
    text.remove_prefix(credentials ? end : from);
  }
}

}  // namespace

std::string AppSettings::origin(std::string_view name) const {
  return std::string(name) + " of the app's settings (process " + std::to_string(pid) + ")";
}

bool read_settings(std::string_view body, AppSettings& read) {
  boost::system::error_code error;
  const json::value answer = json::parse(body, error);
  const json::object* whole = error ? nullptr : answer.if_object();
  const json::value* result = whole ? whole->if_contains("result") : nullptr;
  const json::object* members = result ? result->if_object() : nullptr;
  const json::value* settings = members ? members->if_contains("settings") : nullptr;
  if (!settings || !settings->is_object()) return false;
  for (const auto& setting : settings->get_object())
    take(std::string(setting.key()), setting.value(), read.values, false);
  read.json = json::serialize(*settings);
  return true;
}

bool is_masked(std::string_view value) { return value.find(stars) != std::string_view::npos; }

bool fits_masked(std::string_view open, std::string_view shown) {
  return !open.empty() && !is_masked(open) && (shown == stars || masked(open) == shown);
}

AppSettings ask_for_settings(const hatch::Run& run, int pid) {
  AppSettings settings;
  const std::string request =
      request_text("POST", "/hatches/dump-settings", "{}",
                   {{"Hatchd-Run", std::string(run.id())}, {"Hatchd-Caller", std::string(run.caller())}});
  std::vector<Door> doors = find_doors(run, 2);
  if (pid != 0) std::erase_if(doors, [&](const Door& door) { return door.process.pid != pid; });
  for (const Process& process : ask_all(run, std::move(doors))) {
    const Door& door = process.door;
    const std::string who = "process " + std::to_string(door.process.pid);
    if (!process.why.empty()) {
      // Where a folder is closed to us, whether there is a socket in it cannot be known.
      if (!door.path.empty() && (door.usable() || door.missing.empty())) settings.why = who + ": " + process.why;
      continue;
    }
    const Member* const member = process.find("dump-settings");
    if (!member) continue;  // no socket, or an app with other hatches
    if (member->effect != "observe" || member->role == "admin") {
      settings.why = who + ": its hatch dump-settings " +
                     (member->role == "admin" ? "asks for role admin" : "has the effect " + member->effect) +
                     ", and only what observes is asked on the way; app.dump-settings runs it";
      continue;
    }
    std::vector<Exchange> exchanges;
    exchanges.push_back({door.second.get(), request, {}, {}});
    perform(run, exchanges, patience, max_answer);
    Response response;
    if (!exchanges[0].why.empty())
      settings.why = who + ": " + exchanges[0].why;
    else if (!parse_response(exchanges[0].answer, response))
      settings.why = who + ": its answer is not HTTP/1.1";
    else if (response.status != 200 || !read_settings(response.body, settings))
      settings.why = who + ": its hatch dump-settings answered " + std::to_string(response.status) +
                     (response.status == 200 ? " without an object \"settings\"" : "");
    else {
      settings.pid = door.process.pid;
      settings.why.clear();
      return settings;
    }
    // One that hangs is enough to wait for.
    return settings;
  }
  return settings;
}

}  // namespace app
