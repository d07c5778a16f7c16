// Recipes as hatches: the plugin "recipe" brings one hatch for each kind, and each entry of the configuration that has a
// kind becomes a hatch of its own, made from the one of its kind.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string_view>

#include "config/config.hpp"

namespace hatchd::supervisor {

inline constexpr std::string_view recipe_plugin = "recipe";

// HATCHes of link/protocol.hpp for the catalogue, from the plugin's MANIFEST. What a recipe sends or starts is not in
// them: the front has no need of it.
boost::json::array recipe_hatches(const boost::json::object& manifest, const config::Config& config);

// Adds to the `hatches` of the plugin process's setup what each enabled recipe is made from.
void add_recipes(boost::json::object& enabled, const config::Config& config);

}  // namespace hatchd::supervisor
