#include "client/sse.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace hatchd::client {

bool EventReader::feed(std::string_view piece) {
  rest_ += piece;
  std::size_t at = 0;
  for (std::size_t end = 0; (end = rest_.find('\n', at)) != std::string::npos; at = end + 1) {
    std::string_view text = std::string_view(rest_).substr(at, end - at);
    if (text.ends_with('\r')) text.remove_suffix(1);
    line(text);
  }
  rest_.erase(0, at);
  return rest_.size() <= max_line && event_.data.size() <= max_line;
}

void EventReader::line(std::string_view text) {
  if (text.empty()) {
    const Event whole = std::exchange(event_, {});
    if (!whole.type.empty()) on_event_(whole);
    return;
  }
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view name = text.substr(0, colon);
  std::string_view value = text.substr(std::min(colon + 1, text.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "id")
    std::from_chars(value.data(), value.data() + value.size(), event_.id);
  else if (name == "event")
    event_.type = value;
  else if (name == "data")
    (event_.data += event_.data.empty() ? "" : "\n") += value;
}

}  // namespace hatchd::client
