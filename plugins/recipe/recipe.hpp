// A recipe: a hatch that is written in the configuration, and how the caller's parameters get into it.
//
// {name} stands for a whole value (a form field, a query value, a path segment, an argument, a value of a JSON body) and
// for nothing else: what a caller sends is never part of a larger text, so there is nothing to break out of. The
// configuration was checked when it was read (daemon/config/recipes.hpp). {mark}, where no parameter has that name, is a
// word that is new with each run.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "common/follower.hpp"
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
  const boost::json::value* parameter(std::string_view text) const;

  boost::json::object written_, params_;
};

// The log in which `expect` looks for `text`, from now on. Throws hatch::Failure when there is none to look into.
common::Follower follow(const hatch::Run& run, const std::string& text);
// Throws where there is nowhere to look.
void need(const common::Follower& log, const hatch::Run& run);
inline constexpr std::chrono::milliseconds log_patience{10'000};
// Members `reported` and `not_seen` of the result.
void add_reported(hatch::Result& result, const common::Follower& log, const std::vector<common::Reported>& found);
std::string not_there(const common::Follower& log, const std::string& text);
// Milliseconds.
double since(std::chrono::steady_clock::time_point begin);

hatch::Result run_http(hatch::Run& run);
hatch::Result run_signal(hatch::Run& run);
hatch::Result run_command(hatch::Run& run);
hatch::Result try_http(hatch::Run& run);
hatch::Result try_signal(hatch::Run& run);
hatch::Result try_command(hatch::Run& run);

}  // namespace recipe
