#include "supervisor/reload.hpp"

#include <array>
#include <map>
#include <string_view>

#include <boost/json/value.hpp>

#include "schema/words.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;

namespace {

// The one table; docs/configuration.md says the same. "*" stands for any name or index.
constexpr std::array<std::string_view, 15> fixed{
    "/listen/*/unix",  "/listen/*/mode",          "/listen/*/group",
    "/listen/*/tcp",   "/listen/*/tls",           "/listen/*/only",
    "/users",          "/runs/directory",         "/plugins/*/enabled",
    "/plugins/*/path", "/plugins/*/capabilities", "/plugin_directories",
    "/audit",          "/runs/concurrency",       "/access/start_token",
};

using Found = std::map<std::string, json::value>;

void find(const json::value& value, std::string_view path, const std::string& at, Found& found) {
  if (path.empty()) {
    found[at] = value;
    return;
  }
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  if (const json::object* object = value.if_object())
    for (const auto& member : *object)
      if (segment == "*" || member.key() == segment)
        find(member.value(), path, schema::child(at, std::string_view(member.key())), found);
  if (const json::array* list = value.if_array())
    for (std::size_t i = 0; i < list->size(); ++i) find((*list)[i], path, schema::child(at, i), found);
}

Found settings(const json::object& configuration) {
  Found found;
  const json::value whole(configuration);
  for (const std::string_view path : fixed) find(whole, path, "", found);
  // A plugin that is named only for its own keys is as enabled as one that is not named.
  std::erase_if(found, [](const auto& entry) {
    return entry.first.starts_with("/plugins/") && entry.first.ends_with("/enabled") &&
           entry.second == json::value(true);
  });
  return found;
}

}  // namespace

std::vector<std::string> needs_restart(const json::object& before, const json::object& now) {
  const Found old = settings(before), fresh = settings(now);
  std::vector<std::string> changed;
  for (const auto& [at, value] : fresh)
    if (const auto known = old.find(at); known == old.end() || known->second != value) changed.push_back(at);
  for (const auto& [at, value] : old)
    if (!fresh.contains(at)) changed.push_back(at);
  return changed;
}

}  // namespace hatchd::supervisor
