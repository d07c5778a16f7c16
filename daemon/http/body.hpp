// What a request asks a hatch to do: parameters from JSON, form and query, read as one object. The reserved names
// (DESIGN section 4) are taken out, so that what is left belongs to the hatch and is validated against its schema.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "base/problem.hpp"
#include "http/message.hpp"

namespace hatchd::http {

struct Invocation {
  boost::json::object params;  // converted by the schema, not yet validated
  std::optional<std::string> target, format, reason, processes, profile;
  bool dry_run = false;
  std::optional<double> wait;  // seconds
};

// Body and query of a run request. Refuses with malformed (not decodable), unsupported-media (a body that does not
// match its media type; `remedy` names the curl option), params-invalid (a name given twice, every one listed).
Result<Invocation> read_invocation(const Request& request, const boost::json::object& schema);

}  // namespace hatchd::http
