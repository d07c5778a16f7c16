// A recipe: a hatch that is written in the configuration, and how the caller's parameters get into it.
//
// {name} stands for a whole value (a form field, a query value, a path segment, an argument, a value of a JSON body) and
// for nothing else: what a caller sends is never part of a larger text, so there is nothing to break out of. The
// configuration was checked when it was read (daemon/config/recipes.hpp).
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "hatch/hatch.hpp"

namespace recipe {

class Recipe {
 public:
  // Of the run's configuration (an entry of `hatches`) and its parameters.
  explicit Recipe(const hatch::Run& run);
  Recipe(boost::json::object written, boost::json::object params)
      : written_(std::move(written)), params_(std::move(params)) {}

  const boost::json::object& written() const { return written_; }
  // A member, or an empty object.
  const boost::json::object& part(std::string_view name) const;

  // "{name}" as the text of that parameter, anything else as it is.
  std::string fill(std::string_view text) const;
  // The same for every string of a JSON value; a parameter keeps its type.
  boost::json::value filled(const boost::json::value& value) const;

  // The address of an http recipe: segments of its path and values of its query are filled in and percent-encoded
  // (RFC 3986, section 2.1). Throws hatch::Failure for a segment that would change the path: empty, "." or "..".
  std::string url(std::string_view url) const;

 private:
  std::string segment(std::string_view text) const;
  const boost::json::value* parameter(std::string_view text) const;

  boost::json::object written_, params_;
};

// Everything but unreserved characters as %XX.
std::string percent_encoded(std::string_view text);

// What was asked of the hatch's end: `expect` of the recipe.
hatch::Result run_http(hatch::Run& run);
hatch::Result run_signal(hatch::Run& run);
hatch::Result run_command(hatch::Run& run);
hatch::Result try_signal(hatch::Run& run);

}  // namespace recipe
