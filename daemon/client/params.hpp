// Parameters on the command line: key=value, key=@file (the content of a file, "@-" for standard input), and key=@@text
// for a value that begins with "@". They travel as form fields, so the server converts them by the hatch's schema.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::client {

using Fields = std::vector<std::pair<std::string, std::string>>;

// Problems carry the code `usage`.
Result<Fields> parse_params(const std::vector<std::string>& arguments);

// application/x-www-form-urlencoded; also what a query string is made of.
std::string form(const Fields& fields);
// One segment of a path.
std::string escape(std::string_view text);

}  // namespace hatchd::client
