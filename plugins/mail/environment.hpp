// Which mail server an application was told to use: read from the environment it was started with.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "mail/settings.hpp"

namespace mail {

using Environment = std::map<std::string, std::string, std::less<>>;

// What /proc/PID/environ holds; the first of two equal names counts, as for getenv(3).
Environment parse_environment(std::string_view environ);

// Replaces the server, and where the application says it the sender, by what the environment says; origins are the
// names of the variables. The profile keeps what the application has no word in: allow-lists, patience, arrival.
// Throws Unusable when the environment names no mail server.
void use_environment(Settings& settings, const Environment& environment);

}  // namespace mail
