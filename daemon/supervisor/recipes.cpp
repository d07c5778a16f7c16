#include "supervisor/recipes.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "config/recipes.hpp"

namespace hatchd::supervisor {

namespace json = boost::json;

namespace {

std::string template_of(const config::Hatch& recipe) {
  return std::string(recipe_plugin) + "." + text_of(recipe.written, "kind");
}

const json::object* find(const json::object& manifest, const std::string& id) {
  if (const json::array* hatches = array_of(manifest, "hatches"))
    for (const json::value& value : *hatches)
      if (const json::object* hatch = value.if_object(); hatch && text_of(*hatch, "id") == id) return hatch;
  return nullptr;
}

// What a recipe without words of its own does. Of a URL only the host, of a command only the program: the rest may hold
// secrets.
std::string title_of(const json::object& written, const std::string& fallback) {
  const std::string target = text_of(written, "target");
  if (const std::string signal = text_of(written, "signal"); !signal.empty())
    return "Send SIG" + signal + " to " + target;
  if (const json::array* argv = array_of(written, "argv"); argv && !argv->empty() && argv->front().is_string())
    return "Run " + std::string(argv->front().get_string());
  if (const json::object* request = object_of(written, "request")) {
    const std::string url = text_of(*request, "url");
    const std::size_t begin = std::min(url.find("://"), url.size());
    std::string host = url.substr(std::min(begin + 3, url.size()));
    host.resize(std::min(host.find_first_of("/?#"), host.size()));
    if (const std::size_t at = host.rfind('@'); at != std::string::npos) host.erase(0, at + 1);
    return "Send " + text_of(*request, "method", "POST") + " to " + host;
  }
  return fallback;
}

// Where "{name}" stands, as "request/form/msg".
void find_places(const json::value& value, const std::string& wanted, const std::string& at,
                 std::vector<std::string>& places) {
  if (const json::string* text = value.if_string()) {
    // Whole values, and those segments and values of a URL.
    if (text->find(wanted) != json::string::npos) places.push_back(at);
  } else if (const json::object* object = value.if_object()) {
    for (const auto& member : *object) {
      const std::string name(member.key());
      find_places(member.value(), wanted, at.empty() ? name : at + "/" + name, places);
    }
  } else if (const json::array* array = value.if_array()) {
    for (std::size_t i = 0; i < array->size(); ++i)
      find_places((*array)[i], wanted, at + "/" + std::to_string(i), places);
  }
}

// Parameters that the recipe does not describe say where they go.
json::object described_parameters(const json::object& written, const json::object& targets) {
  json::object schema = config::recipe_parameters(written, targets);
  json::value* properties = schema.if_contains("properties");
  if (!properties || !properties->is_object()) return schema;
  json::object places_of = written;
  places_of.erase("params");
  for (auto& property : properties->get_object()) {
    json::object* one = property.value().if_object();
    if (!one || !text_of(*one, "description").empty()) continue;
    std::vector<std::string> places;
    find_places(json::value(places_of), "{" + std::string(property.key()) + "}", "", places);
    std::string text = places.empty() ? "Stands nowhere in the recipe" : "Stands in ";
    for (std::size_t i = 0; i < places.size(); ++i) text += (i ? ", " : "") + places[i];
    (*one)["description"] = text + ".";
  }
  return schema;
}

}  // namespace

json::array recipe_hatches(const json::object& manifest, const config::Config& config) {
  json::array made;
  for (const auto& [id, recipe] : config.hatches) {
    const json::object* from = recipe.recipe ? find(manifest, template_of(recipe)) : nullptr;
    if (!from) continue;
    json::object hatch = *from;
    hatch["id"] = id;
    hatch["title"] = text_of(recipe.written, "title", title_of(recipe.written, text_of(*from, "title")));
    hatch["documentation"] = text_of(recipe.written, "description", text_of(*from, "documentation"));
    hatch["effect"] = text_of(recipe.written, "effect", "act");
    hatch["parameters"] = described_parameters(recipe.written, config.targets);
    const std::string target = text_of(recipe.written, "target");
    hatch["target"] = target.empty() ? "none" : "required";
    if (!target.empty()) hatch["bound_to"] = target;
    made.push_back(std::move(hatch));
  }
  return made;
}

void add_recipes(json::object& enabled, const config::Config& config) {
  for (auto& entry : enabled) {
    const auto recipe = config.hatches.find(entry.key());
    json::object* hatch = entry.value().if_object();
    if (recipe == config.hatches.end() || !recipe->second.recipe || !hatch) continue;
    (*hatch)["template"] = template_of(recipe->second);
    (*hatch)["parameters"] = config::recipe_parameters(recipe->second.written, config.targets);
    (*hatch)["configuration"] = recipe->second.written;
  }
}

}  // namespace hatchd::supervisor
