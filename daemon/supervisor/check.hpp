// What `hatchd check` looks at beyond the text of the configuration: the users, files and plugins that it names. hatchd
// itself starts without some of them and says so in its log; whoever checks wants to know beforehand.
#pragma once

#include <string>
#include <vector>

#include "base/problem.hpp"
#include "config/config.hpp"
#include "supervisor/users.hpp"

namespace hatchd::supervisor {

// Each failure with the JSON Pointer of what names the missing thing. Opens plugins in throw-away children.
std::vector<FieldError> check_world(const config::Config& config);

// What recipes name and this machine has not: programs, folders, users and the right to become one. They are listed, and
// say what is missing when they run. `plugins`: whom they run as.
std::vector<FieldError> check_recipes(const config::Config& config, const Identity& plugins);

// The User= of the installed unit hatchd.service, "" when there is no unit or it is root.
std::string service_user();
// Becomes that user for good, so that what it cannot read cannot be read here either.
Result<void> become(const std::string& user);

}  // namespace hatchd::supervisor
