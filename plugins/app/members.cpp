#include "app/members.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "app/exchange.hpp"

namespace app {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds patience = 200ms;  // docs/hatchkit.md
constexpr std::size_t max_description = 1024 * 1024;
constexpr std::size_t max_members = 256;
constexpr std::size_t max_title = 200, max_documentation = 20'000, max_parameters = 64 * 1024;
constexpr const char* effects[] = {"observe", "act", "disrupt"};

std::string text_of(const json::object& object, std::string_view name, std::size_t limit) {
  const json::value* value = object.if_contains(name);
  if (!value || !value->is_string()) return {};
  return hatch::printable(std::string_view(value->get_string()).substr(0, limit), true);
}

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 60 || text.front() < 'a' || text.front() > 'z' || text.back() == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }) &&
         text.find("--") == std::string_view::npos;
}

}  // namespace

int rank(std::string_view effect) {
  for (int i = 0; i < 3; ++i)
    if (effect == effects[i]) return i;
  return 2;
}

std::vector<Member> read_members(std::string_view body) {
  boost::system::error_code error;
  const json::value parsed = json::parse(body, error);
  const json::object* object = error ? nullptr : parsed.if_object();
  const json::value* list = object ? object->if_contains("hatches") : nullptr;
  if (!list || !list->is_array()) throw hatch::Failure("its description is not that of hatches (docs/hatchkit.md)");
  const json::value* protocol = object->if_contains("protocol");
  if (!protocol || !protocol->is_number() || protocol->to_number<double>(error) != 1)
    throw hatch::Failure("it speaks another protocol than 1");

  std::vector<Member> members;
  for (const json::value& value : list->get_array()) {
    const json::object* entry = value.if_object();
    if (!entry || members.size() >= max_members) continue;
    Member member;
    member.name = text_of(*entry, "name", 64);
    if (!is_name(member.name)) continue;
    member.title = text_of(*entry, "title", max_title);
    std::replace(member.title.begin(), member.title.end(), '\n', ' ');
    if (member.title.empty()) member.title = member.name;
    member.documentation = text_of(*entry, "documentation", max_documentation);
    if (member.documentation.empty()) member.documentation = member.title;
    // One that says nothing, or a word that nobody knows, is not taken for harmless.
    const std::string effect = text_of(*entry, "effect", 16);
    member.effect = effect.empty() ? "act" : effects[rank(effect)];
    member.role = text_of(*entry, "role", 16);
    member.mark = text_of(*entry, "mark", 64);
    member.parameters = {{"type", "object"}};
    if (const json::value* parameters = entry->if_contains("parameters"); parameters && parameters->is_object())
      if (json::serialize(*parameters).size() <= max_parameters) member.parameters = parameters->get_object();
    if (const json::value* timeout = entry->if_contains("timeout_ms"); timeout && timeout->is_int64())
      member.timeout_ms = std::clamp<std::int64_t>(timeout->get_int64(), 0, 3'600'000);
    if (std::none_of(members.begin(), members.end(), [&](const Member& m) { return m.name == member.name; }))
      members.push_back(std::move(member));
  }
  return members;
}

const Member* Process::find(std::string_view name) const {
  for (const Member& member : members)
    if (member.name == name) return &member;
  return nullptr;
}

std::vector<Process> ask_all(const hatch::Run& run, std::vector<Door> doors) {
  std::vector<Process> processes;
  std::vector<Exchange> exchanges;
  std::vector<std::size_t> of;
  for (Door& door : doors) {
    Process& process = processes.emplace_back();
    process.door = std::move(door);
    process.why = process.door.why;
    if (!process.door.usable()) continue;
    of.push_back(processes.size() - 1);
    exchanges.push_back({process.door.first.get(), request_text("GET", "/hatches", {}), {}, {}});
  }
  perform(run, exchanges, patience, max_description);
  for (std::size_t k = 0; k < of.size(); ++k) {
    Process& process = processes[of[k]];
    const Exchange& exchange = exchanges[k];
    process.ms = exchange.ms;
    process.why = exchange.why;
    if (!process.why.empty()) {
      process.why += "; it may be stopped, busy, or hold its interpreter's lock: stack.dump shows which";
      continue;
    }
    Response response;
    if (!parse_response(exchange.answer, response)) {
      process.why = "its answer is not HTTP/1.1";
    } else if (response.status == 403) {
      process.why = "it does not admit hatchd's user";
      process.door.missing = "membership of the group hatch-app";
      process.door.remedy =
          "put the user that hatchd's plugins run as into the group hatch-app, or name it in the app's HATCH_PEERS";
    } else if (response.status != 200) {
      process.why = "it answered " + std::to_string(response.status) + " to GET /hatches";
    } else {
      try {
        process.members = read_members(response.body);
      } catch (const hatch::Failure& failure) {
        process.why = failure.what();
      }
    }
  }
  return processes;
}

json::array processes_json(const std::vector<Process>& processes) {
  json::array list;
  for (const Process& process : processes) {
    json::object entry{{"pid", process.door.process.pid}};
    entry["socket"] =
        process.door.path.empty() ? json::value(nullptr) : json::value(hatch::printable(process.door.path));
    entry["answered"] = process.door.usable() && process.why.empty();
    if (process.ms > 0) entry["ms"] = hatch::rounded_ms(process.ms);
    if (!process.why.empty()) entry["why"] = process.why;
    list.push_back(std::move(entry));
  }
  return list;
}

json::array hatches_json(const std::vector<Process>& processes) {
  std::map<std::string, json::object> by_name;
  for (const Process& process : processes)
    for (const Member& member : process.members) {
      json::object& entry = by_name[member.name];
      if (entry.empty()) {
        if (by_name.size() > max_members) {
          by_name.erase(member.name);
          continue;
        }
        entry = {{"name", member.name},
                 {"title", member.title},
                 {"effect", member.effect},
                 {"documentation", member.documentation},
                 {"parameters", member.parameters},
                 {"pids", json::array{}}};
        if (!member.role.empty()) entry["role"] = member.role;
        if (!member.mark.empty()) entry["mark"] = member.mark;
        if (member.timeout_ms > 0) entry["timeout_ms"] = member.timeout_ms;
      }
      if (rank(member.effect) > rank(std::string_view(entry["effect"].as_string()))) entry["effect"] = member.effect;
      entry["pids"].as_array().push_back(process.door.process.pid);
    }
  json::array list;
  for (auto& [name, entry] : by_name) list.push_back(std::move(entry));
  return list;
}

}  // namespace app
