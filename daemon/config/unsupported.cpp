#include "config/unsupported.hpp"

#include <array>
#include <string>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "schema/words.hpp"

namespace json = boost::json;

namespace hatchd::config {
namespace {

// The one table: whoever builds a function deletes its line. "*" stands for any name.
constexpr std::array<std::string_view, 9> unsupported{
    "/hatches/*/kind",    "/hatches/*/target", "/hatches/*/title",  "/hatches/*/description", "/hatches/*/params",
    "/hatches/*/request", "/hatches/*/expect", "/hatches/*/signal", "/hatches/*/argv",
};

// Takes the first segment off "/a/b".
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

void annotate(json::object& schema, std::string_view path) {
  if (path.empty()) {
    schema.erase("default");
    const std::string description = text_of(schema, "description");
    schema["description"] = description + (description.empty() ? "" : " ") + "Not supported by this version.";
    return;
  }
  const std::string_view segment = take_segment(path);
  const char* keyword = segment == "*" ? "patternProperties" : "properties";
  json::value* below = schema.if_contains(keyword);
  if (below == nullptr) return;
  for (auto& member : below->as_object())
    if (segment == "*" || member.key() == segment) annotate(member.value().as_object(), path);
}

void find(const json::value& value, std::string_view path, const std::string& at, std::vector<FieldError>& found) {
  if (path.empty()) {
    found.push_back({at, "is not supported by this version"});
    return;
  }
  const json::object* object = value.if_object();
  if (object == nullptr) return;
  const std::string_view segment = take_segment(path);
  for (const auto& member : *object)
    if (segment == "*" || member.key() == segment)
      find(member.value(), path, schema::child(at, std::string_view(member.key())), found);
}

}  // namespace

void annotate_unsupported(json::object& schema) {
  for (const std::string_view path : unsupported) annotate(schema, path);
}

std::vector<FieldError> find_unsupported(const json::object& configuration) {
  std::vector<FieldError> found;
  const json::value whole(configuration);
  for (const std::string_view path : unsupported) find(whole, path, "", found);
  return found;
}

}  // namespace hatchd::config
