// What is constant of GET /openapi.json: the shapes of answers, the parameters that routes share, and a line for each
// route. What depends on the loaded hatches is put together in openapi.cpp.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

namespace hatchd::api {

// One route as it is documented. `answer`: a schema of shared_components(), or "" for text alone.
struct RouteDoc {
  std::string_view method, pattern, tag, summary;
  std::string_view answer;
  std::string_view media;       // types of the answer beside JSON, in a row with blanks between
  std::string_view parameters;  // names of shared_components(), likewise
};
// nullptr: the route has no line yet.
const RouteDoc* doc_of(std::string_view method, std::string_view pattern);

// "schemas", "parameters", "headers" and "securitySchemes" of the document.
const boost::json::object& shared_components();
// The properties that every run takes beside its hatch's own: the reserved names.
const boost::json::object& reserved_properties();

}  // namespace hatchd::api
