#include "runs/follow.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "base/json.hpp"
#include "hatch/json.hpp"
#include "link/receive.hpp"
#include "runs/journal.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

namespace json = boost::json;

namespace {

// What follows goes to terminals and into JSON: valid UTF-8, no controls, bounded.
std::string clean(const json::object& message, std::string_view name, std::size_t max) {
  std::string text = text_of(message, name);
  if (text.size() > max) text.resize(max);
  return hatch::printable(text, true);
}

}  // namespace

void Events::add(std::string_view type, const json::object& data) {
  events_.push_back({++last_, std::string(type), json::serialize(data)});
  bytes_ += events_.back().data.size();
  while (events_.size() > max_count || (bytes_ > max_bytes && events_.size() > 1)) {
    bytes_ -= events_.front().data.size();
    events_.pop_front();
  }
  const bool must = type == "state" || type == "result";  // few, and small
  if (!to_disk_) return;
  std::string entry;
  if (must || stored_ < max_stored) {
    entry = Journal::entry(to_line(events_.back()));
  } else if (!std::exchange(cut_, true)) {
    // In the place of the first that is left out, so that a reader sees more than a gap in the numbers.
    const std::string message = "what the run told from here on was not kept: more than " +
                                std::to_string(max_stored / (1024 * 1024)) + " MiB of events";
    entry = Journal::entry(
        to_line({last_, "log", json::serialize(json::object{{"level", "warning"}, {"message", message}})}));
  } else {
    return;
  }
  stored_ += entry.size();
  unwritten_ += entry;
}

std::string Events::entry_of(std::uint64_t ahead, std::string_view type, const json::object& data) const {
  return Journal::entry(to_line({last_ + ahead, std::string(type), json::serialize(data)}));
}

const Event* Events::behind(std::uint64_t after) const {
  if (events_.empty() || after >= last_) return nullptr;
  const std::uint64_t first = events_.front().number;
  return &events_[after < first ? 0 : static_cast<std::size_t>(after + 1 - first)];
}

bool Events::whole_behind(std::uint64_t after) const {
  const Event* next = behind(after);
  return !next || next->number == after + 1;
}

void Events::stay_in_memory() {
  to_disk_ = false;
  unwritten_.clear();
}

std::string to_line(const Event& event) { return std::to_string(event.number) + " " + event.type + " " + event.data; }

std::optional<Event> event_of(std::string_view line) {
  Event event{};
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), event.number);
  if (error != std::errc() || end == line.data() + line.size() || *end != ' ') return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()) + 1);
  const std::size_t space = line.find(' ');
  if (space == line.npos) return std::nullopt;
  event.type = line.substr(0, space);
  event.data = line.substr(space + 1);
  return event;
}

json::object state_event(const Run& run) { return {{"state", to_string(run.state)}}; }

json::object result_event(const Run& run) {
  json::object result{{"state", to_string(run.state)}, {"href", "/v1/runs/" + run.id}};
  if (!run.verdict.empty()) result["verdict"] = run.verdict;
  if (run.error) result["error"] = hatchd::to_json(*run.error);
  return result;
}

bool read_event(const json::object& message, std::string& type, json::object& data) {
  type = text_of(message, "event");
  if (type == "progress") {
    data["permyriad"] = std::clamp<std::int64_t>(number_of(message, "permyriad"), 0, 10000);
    data["note"] = clean(message, "note", 1000);
  } else if (type == "log") {
    const std::string level = text_of(message, "level");
    const bool known = level == "debug" || level == "info" || level == "warning" || level == "error";
    data["level"] = known ? level : "info";
    data["message"] = clean(message, "message", link::max_log);
  } else if (type == "output") {
    data["text"] = clean(message, "text", link::max_output);
  } else {
    return false;
  }
  return true;
}

std::string to_sse(const Event& event) {
  return "id: " + std::to_string(event.number) + "\nevent: " + event.type + "\ndata: " + event.data + "\n\n";
}

}  // namespace hatchd::runs
