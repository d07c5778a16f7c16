#include "api/prefer.hpp"

#include <algorithm>
#include <charconv>

#include "http/text.hpp"

namespace hatchd::api {

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  constexpr double longest = 24 * 3600;
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::clamp(seconds, 0.0, longest) * 1000));
}

// All fields of the name as one list: `respond-async, wait=10;x="y"`.
std::string all_of(const http::Request& request, std::string_view name) {
  std::string all;
  for (const auto& [field, value] : request.headers)
    if (field == name) (all += all.empty() ? "" : ",") += value;
  return all;
}

// Up to `end`, which is taken off, too.
std::string_view cut(std::string_view& text, char end) {
  const std::size_t at = std::min(text.find(end), text.size());
  const std::string_view part = http::trim(text.substr(0, at));
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

}  // namespace

Preferences preferences_of(const http::Request& request, std::optional<double> wait) {
  Preferences preferences;
  if (wait) preferences.wait = milliseconds(*wait);
  bool asynchronous = false;
  std::string waits;
  const std::string all = all_of(request, "prefer");
  for (std::string_view rest = all; !rest.empty();) {
    std::string_view preference = cut(rest, ',');
    preference = cut(preference, ';');  // none of ours has parameters
    std::string_view value = preference;
    const std::string_view name = cut(value, '=');
    value = http::trim(value);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    if (http::same(name, "respond-async")) {
      asynchronous = true;
    } else if (http::same(name, "cancel-on-disconnect")) {
      preferences.cancel_on_disconnect = true;
    } else if (http::same(name, "wait") && !wait && waits.empty()) {  // the first of several counts
      unsigned seconds = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (value.empty() || error != std::errc() || end != value.data() + value.size()) continue;
      preferences.wait = milliseconds(seconds);
      waits = "wait=" + std::to_string(seconds);
    }
  }
  const auto apply = [&](std::string_view name) {
    if (!name.empty()) (preferences.applied += preferences.applied.empty() ? "" : ", ") += name;
  };
  if (asynchronous) {
    if (!preferences.wait) preferences.wait = std::chrono::milliseconds(0);
    apply("respond-async");
  }
  apply(waits);
  if (preferences.cancel_on_disconnect) apply("cancel-on-disconnect");
  return preferences;
}

}  // namespace hatchd::api
