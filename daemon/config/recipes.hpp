// Recipes: entries of `hatches` that have a kind, and are hatches of their own.
//
// What a schema cannot say of them is checked here, when the configuration is read: which members belong to which kind,
// and that {name} stands where a whole value stands and names a parameter (plugins/recipe/recipe.hpp fills it in).
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::config {

// Failures of one entry, at `at` and below. `targets`: those of the configuration, by name.
void check_recipe(const boost::json::object& recipe, const std::string& at, const boost::json::object& targets,
                  std::vector<FieldError>& failures);

// The schema of its parameters: `params` of the recipe as the properties of an object. Those without "default" are
// required. Those that are an argument or a segment of a path have to be fit for one; what is looked for in a log may be an
// argument of the program that reads it. `targets`: as above.
boost::json::object recipe_parameters(const boost::json::object& recipe, const boost::json::object& targets);

// Takes away what makes an entry a recipe: what is left are the settings that every hatch has.
void strip_recipe(boost::json::object& entry);

}  // namespace hatchd::config
