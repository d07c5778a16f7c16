// What a person or a program is told about hatches: DESIGN section 4, "the catalogue".
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "catalogue/catalogue.hpp"

namespace hatchd::catalogue {

// How the caller reaches this daemon, so that the curl line works when it is pasted.
struct Door {
  std::string unix_path;  // either this …
  std::string origin;     // … or "http://127.0.0.1:4282"
  bool token = false;     // the caller came with one
};

std::string curl_line(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets);
// The part of the line in front of the path, for other routes.
std::string curl_door(const Door& door);

// `targets`: names that the caller sees. Whole, with the parameters' schema.
boost::json::object describe(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets);
boost::json::object describe(const Absent& absent);

// Text: one aligned line a hatch, grouped by plugin; and a page of one hatch, in the order of a manual page.
std::string list_text(const std::vector<const Hatch*>& hatches, const std::vector<Absent>& absent);
std::string page_text(const Hatch& hatch, const Door& door, const std::vector<std::string>& targets);

}  // namespace hatchd::catalogue
