#include "supervisor/recipes.hpp"

#include <boost/json/value.hpp>
#include <string>

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

}  // namespace

json::array recipe_hatches(const json::object& manifest, const config::Config& config) {
  json::array made;
  for (const auto& [id, recipe] : config.hatches) {
    const json::object* from = recipe.recipe ? find(manifest, template_of(recipe)) : nullptr;
    if (!from) continue;
    json::object hatch = *from;
    hatch["id"] = id;
    hatch["title"] = text_of(recipe.written, "title", text_of(*from, "title"));
    hatch["documentation"] = text_of(recipe.written, "description", text_of(*from, "documentation"));
    hatch["effect"] = text_of(recipe.written, "effect", "act");
    hatch["parameters"] = config::recipe_parameters(recipe.written);
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
    (*hatch)["parameters"] = config::recipe_parameters(recipe->second.written);
    (*hatch)["configuration"] = recipe->second.written;
  }
}

}  // namespace hatchd::supervisor
