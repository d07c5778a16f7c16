#include "runs/follow.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "hatch/json.hpp"

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
}

const Event* Events::behind(std::uint64_t after) const {
  if (events_.empty() || after >= last_) return nullptr;
  const std::uint64_t first = events_.front().number;
  return &events_[after < first ? 0 : static_cast<std::size_t>(after + 1 - first)];
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
    data["message"] = clean(message, "message", 8000);
  } else if (type == "output") {
    data["text"] = clean(message, "text", 64 * 1024);
  } else {
    return false;
  }
  return true;
}

std::string to_sse(const Event& event) {
  return "id: " + std::to_string(event.number) + "\nevent: " + event.type + "\ndata: " + event.data + "\n\n";
}

}  // namespace hatchd::runs
