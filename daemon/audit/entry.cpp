#include "audit/entry.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/clock.hpp"
#include "hatch/json.hpp"

namespace hatchd::audit {

namespace json = boost::json;

namespace {

constexpr std::string_view id_prefix = R"({"id":")";
constexpr std::size_t ulid_size = 26, time_size = 24;
// {"id":"01J…","time":"2026-11-23T14:40:44.123Z","event":"begin","run":"01J…
constexpr std::size_t event_at = id_prefix.size() + ulid_size + std::string_view(R"(","time":")").size() + time_size +
                                 std::string_view(R"(","event":")").size();

bool is_hex(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }
bool is_zero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

json::value or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

}  // namespace

std::string valid_traceparent(std::string_view text) {
  // version "-" trace-id "-" parent-id "-" flags; a later version may go on behind another dash.
  constexpr std::size_t size = 2 + 1 + 32 + 1 + 16 + 1 + 2, longest = 256;
  if (text.size() < size || text.size() > longest) return {};
  const std::string_view version = text.substr(0, 2), trace = text.substr(3, 32), parent = text.substr(36, 16),
                         flags = text.substr(53, 2);
  if (text[2] != '-' || text[35] != '-' || text[52] != '-' || !is_hex(version) || !is_hex(trace) || !is_hex(parent) ||
      !is_hex(flags) || version == "ff" || is_zero(trace) || is_zero(parent))
    return {};
  if (text.size() > size && (version == "00" || text[size] != '-')) return {};
  const auto plain = [](char c) { return c > ' ' && c < '\x7F' && c != '"' && c != '\\'; };
  return std::all_of(text.begin(), text.end(), plain) ? std::string(text) : std::string();
}

Origin origin_of(const http::Request& request) {
  Origin origin;
  if (request.peer.local) origin.pid = request.peer.pid;
  origin.address = request.peer.address;
  origin.request = request.id;
  const auto named = [](const auto& header) { return header.first == "traceparent"; };
  if (std::count_if(request.headers.begin(), request.headers.end(), named) == 1)
    origin.traceparent = valid_traceparent(request.header("traceparent"));
  return origin;
}

json::object entry(std::string_view event) {
  return {{"id", new_ulid()}, {"time", rfc3339(std::chrono::system_clock::now())}, {"event", event}};
}

void add_caller(json::object& entry, const access::Caller& caller, const Origin& origin) {
  entry["caller"] = json::object{{"name", hatch::printable(caller.name)},
                                 {"via", caller.via},
                                 {"role", access::to_string(caller.role)},
                                 {"uid", caller.uid ? json::value(*caller.uid) : json::value(nullptr)},
                                 {"pid", origin.pid > 0 ? json::value(origin.pid) : json::value(nullptr)},
                                 {"login", or_null(caller.login)},
                                 {"address", or_null(origin.address)}};
  entry["request"] = or_null(origin.request);
  entry["traceparent"] = or_null(origin.traceparent);
}

std::string_view id_of(std::string_view line) {
  if (!line.starts_with(id_prefix)) return {};
  const std::string_view id = line.substr(id_prefix.size(), ulid_size);
  return is_ulid(id) ? id : std::string_view();
}

RunEvent run_event_of(std::string_view line) {
  if (line.size() < event_at || id_of(line).empty()) return {};
  std::string_view rest = line.substr(event_at);
  RunEvent event;
  for (const auto& [name, what] : {std::pair{std::string_view(R"(begin","run":")"), RunEvent::begin},
                                   std::pair{std::string_view(R"(end","run":")"), RunEvent::end}})
    if (rest.starts_with(name) && is_ulid(rest.substr(name.size(), ulid_size))) {
      event.what = what;
      event.run = rest.substr(name.size(), ulid_size);
    }
  return event;
}

}  // namespace hatchd::audit
