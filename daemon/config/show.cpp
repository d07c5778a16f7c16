#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "base/mask.hpp"
#include "config/config.hpp"
#include "config/secrets.hpp"
#include "hatch/json.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

// Each value that has no parts of its own.
template <class Visit>
void leaves(const json::value& value, const std::string& pointer, const Visit& visit) {
  if (value.is_object() && !value.get_object().empty()) {
    for (const auto& member : value.get_object())
      leaves(member.value(), schema::child(pointer, std::string_view(member.key())), visit);
  } else if (value.is_array() && !value.get_array().empty()) {
    for (std::size_t i = 0; i < value.get_array().size(); ++i)
      leaves(value.get_array()[i], schema::child(pointer, i), visit);
  } else {
    visit(pointer);
  }
}

}  // namespace

std::string show(const Loaded& loaded) {
  json::object masked = loaded.effective;
  const auto mask = mask::rules();
  if (json::value* plugins = masked.if_contains("plugins"); plugins != nullptr && plugins->is_object())
    for (auto& plugin : plugins->get_object()) mask_secrets(plugin.value(), *mask);
  // What a recipe sends or starts; the rest of a hatch describes.
  if (json::value* hatches = masked.if_contains("hatches"); hatches != nullptr && hatches->is_object())
    for (auto& hatch : hatches->get_object())
      if (json::object* recipe = hatch.value().if_object())
        for (const char* part : {"request", "argv", "environment"})
          if (json::value* sent = recipe->if_contains(part)) mask_secrets(*sent, *mask);
  if (json::value* targets = masked.if_contains("targets"); targets != nullptr && targets->is_object())
    for (auto& target : targets->get_object())
      if (json::object* match = target.value().if_object())
        if (json::value* log = match->if_contains("log")) mask_secrets(*log, *mask);
  return pretty(masked) + "\n";
}

std::string origins(const Loaded& loaded) {
  std::string out;
  leaves(json::value(loaded.effective), "", [&](const std::string& pointer) {
    const auto place = loaded.places.find(pointer);
    const std::string from =
        place == loaded.places.end() ? "default" : place->second.file + ":" + std::to_string(place->second.line);
    out += hatch::printable((pointer.empty() ? "/" : pointer) + "  " + from) + "\n";
  });
  return out;
}

}  // namespace hatchd::config
