#include "runs/run.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "hatch/json.hpp"
#include "hatch/ulid.hpp"

namespace hatchd::runs {

namespace json = boost::json;

std::string_view to_string(State state) {
  switch (state) {
    case State::queued: return "queued";
    case State::running: return "running";
    case State::succeeded: return "succeeded";
    case State::failed: return "failed";
    case State::cancelled: return "cancelled";
    case State::timed_out: return "timed-out";
    case State::crashed: return "crashed";
  }
  return "crashed";
}

std::optional<State> parse_state(std::string_view text) {
  for (const State state : all_states)
    if (to_string(state) == text) return state;
  return std::nullopt;
}

bool may_move(State from, State to) {
  return std::any_of(std::begin(moves), std::end(moves),
                     [&](const Move& move) { return move.from == from && move.to == to; });
}

WallTime time_of(std::string_view ulid) { return hatch::made_at(ulid).value_or(WallTime{}); }

namespace {

json::value text_or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

json::array artifacts_of(const Run& run, bool record) {
  json::array list;
  for (const Artifact& artifact : run.artifacts) {
    json::object& entry = list.emplace_back(json::object{}).get_object();
    entry["name"] = artifact.name;
    entry["type"] = artifact.media_type;
    entry["bytes"] = artifact.bytes;
    entry["sha256"] = artifact.sha256;
    if (record)
      entry["number"] = artifact.number;
    else
      entry["href"] = "/v1/runs/" + run.id + "/artifacts/" + encode_segment(artifact.name);
  }
  return list;
}

// The members that client and record share, in the order of DESIGN section 4.
json::object shared_members(const Run& run, bool record) {
  json::object object;
  object["id"] = run.id;
  object["hatch"] = run.hatch;
  if (!run.kind.empty()) object["kind"] = run.kind;
  if (run.target.empty()) {
    object["target"] = nullptr;
  } else {
    json::object& target = object["target"].emplace_object();
    target["name"] = run.target;
    if (run.target_pid > 0) target["pid"] = run.target_pid;
    if (!run.target_started.empty()) target["started"] = run.target_started;
  }
  json::object& caller = object["caller"].emplace_object();
  caller["name"] = run.caller;
  caller["via"] = run.via;
  caller["uid"] = run.uid ? json::value(*run.uid) : json::value(nullptr);
  caller["login"] = text_or_null(run.login);
  object["reason"] = text_or_null(run.reason);
  object["cause"] = text_or_null(run.cause);
  object["parent"] = text_or_null(run.parent);
  object["params"] = run.params;
  object["state"] = to_string(run.state);
  object["created"] = rfc3339(run.created());
  object["started"] = text_or_null(run.started);
  object["finished"] = text_or_null(run.finished);
  object["duration_ms"] = is_over(run.state) ? json::value(run.duration_ms) : json::value(nullptr);
  object["paused_us"] = run.paused_us;
  object["verdict"] = text_or_null(run.verdict);
  object["error"] = run.error ? json::value(hatchd::to_json(*run.error)) : json::value(nullptr);
  object["artifacts"] = artifacts_of(run, record);
  return object;
}

std::string bounded(std::string text, std::size_t max = 1000) {
  if (text.size() > max) text.resize(max);
  return hatch::printable(text);
}

bool may_be(const Artifact& artifact) {
  return is_artifact_name(artifact.name) && is_media_type(artifact.media_type) && artifact.sha256.size() == 64 &&
         artifact.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A record may say that it has less than nothing, which must not count as all that there is.
std::uint64_t bytes_of(const json::object& object) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(number_of(object, "bytes"), 0));
}

}  // namespace

json::object to_record(const Run& run) {
  json::object record = shared_members(run, true);
  record["plugin"] = run.plugin;
  record["has_result"] = run.has_result;
  record["renderings"] = json::value_from(run.renderings);
  record["effect"] = schema::to_string(run.effect);
  record["role"] = access::to_string(run.role);
  record["bytes"] = run.bytes;
  if (!run.stored) record["stored"] = false;
  if (!run.texts.empty()) record["texts"] = json::value_from(run.texts);
  return record;
}

Result<Run> from_record(const json::object& record) {
  Run run;
  run.id = text_of(record, "id");
  run.hatch = text_of(record, "hatch");
  const auto state = parse_state(text_of(record, "state"));
  if (!is_ulid(run.id) || run.hatch.empty() || !state) return refuse("malformed", "not the record of a run");
  run.state = *state;
  run.kind = text_of(record, "kind");
  run.plugin = text_of(record, "plugin");
  if (const json::object* target = object_of(record, "target")) {
    run.target = text_of(*target, "name");
    run.target_pid = static_cast<pid_t>(number_of(*target, "pid"));
    run.target_started = text_of(*target, "started");
  }
  if (const json::object* caller = object_of(record, "caller")) {
    run.caller = text_of(*caller, "name");
    run.via = text_of(*caller, "via");
    run.login = text_of(*caller, "login");
    if (const std::int64_t uid = number_of(*caller, "uid", -1); uid >= 0) run.uid = static_cast<uid_t>(uid);
  }
  run.clock = parse_rfc3339(text_of(record, "created"));
  run.reason = text_of(record, "reason");
  run.cause = text_of(record, "cause");
  run.parent = text_of(record, "parent");
  if (const json::object* params = object_of(record, "params")) run.params = *params;
  run.started = text_of(record, "started");
  run.finished = text_of(record, "finished");
  run.duration_ms = number_of(record, "duration_ms");
  run.paused_us = number_of(record, "paused_us");
  if (const json::object* error = object_of(record, "error")) run.error = problem_from_json(*error);
  if (const json::array* artifacts = array_of(record, "artifacts"))
    for (const json::value& value : *artifacts)
      if (const json::object* entry = value.if_object())
        run.artifacts.push_back({text_of(*entry, "name"), text_of(*entry, "type"), bytes_of(*entry),
                                 text_of(*entry, "sha256"), static_cast<unsigned>(number_of(*entry, "number"))});
  run.verdict = bounded(text_of(record, "verdict"));
  run.has_result = flag_of(record, "has_result");
  run.renderings = texts_of(record, "renderings");
  // What they say becomes headers and parts of paths.
  if (!std::all_of(run.artifacts.begin(), run.artifacts.end(), may_be))
    return refuse("malformed", "the record names an artifact that cannot be one");
  if (!std::all_of(run.renderings.begin(), run.renderings.end(), is_rendering_name))
    return refuse("malformed", "the record names a rendering that cannot be one");
  // What cannot be read counts as the highest: a damaged record must not become readable by everybody.
  if (!schema::parse_effect(text_of(record, "effect"), run.effect)) run.effect = schema::Effect::disrupt;
  run.role = access::parse_role(text_of(record, "role"));
  run.bytes = bytes_of(record);
  run.stored = flag_of(record, "stored", true);
  if (const json::object* texts = object_of(record, "texts"))
    for (const auto& [file, text] : *texts)
      if (text.is_string()) run.texts.emplace(file, text.get_string());
  return run;
}

json::object to_json(const Run& run) {
  json::object object = shared_members(run, false);
  object["href"] = "/v1/runs/" + run.id;
  if (!run.stored) object["stored"] = false;
  return object;
}

Result<std::string> to_text(const Run& run, std::string_view result, unsigned indent) {
  Result<std::string> laid_out = std::string("null");
  if (!result.empty()) laid_out = pretty_text(result, indent + 1, "internal");
  if (!laid_out) return laid_out;
  const std::string inner = "\n" + std::string(2 * (indent + 1), ' ');
  // What stands around it is put around it in place: a result may have many megabytes.
  std::string before = "{", behind;
  std::string* text = &before;
  const auto member = [&](std::string_view name) -> std::string& {
    if (*text != "{") *text += ',';
    return ((*text += inner) += '"').append(name).append("\": ");
  };
  const json::object object = to_json(run);
  for (const auto& [name, value] : object) {
    if (name == "error") {  // the result stands before it
      member("result");
      text = &behind;
    }
    member(std::string_view(name.data(), name.size())) += pretty(value, indent + 1);
  }
  laid_out->insert(0, before);
  laid_out->append(behind).append("\n").append(2 * indent, ' ').append("}");
  return laid_out;
}

bool is_artifact_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && name.front() != '.' && name.find('/') == std::string_view::npos &&
         hatch::printable(name) == name;
}

bool is_media_type(std::string_view text) {
  return text.size() <= 128 && text.find('/') != std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F && c != '"' && c != ','; });
}

bool is_rendering_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 && name != "json" && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

std::string encode_segment(std::string_view text) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      ((out += '%') += hex[byte >> 4]) += hex[byte & 15];
  }
  return out;
}

}  // namespace hatchd::runs
