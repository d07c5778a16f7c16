// Which mail server an application was told to use: read from the environment it was started with.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "app/settings.hpp"
#include "mail/settings.hpp"

namespace mail {

using Environment = std::map<std::string, std::string, std::less<>>;

// What /proc/PID/environ holds; the first of two equal names counts, as for getenv(3).
Environment parse_environment(std::string_view environ);

// Replaces the server, and where the application says it the sender, by what the environment says; origins are the
// names of the variables. The profile keeps what the application has no word in: allow-lists, patience, arrival.
// Throws Unusable when the environment names no mail server.
void use_environment(Settings& settings, const Environment& environment);

// The same by the app's own settings. False: they name no mail server, and nothing was changed. What the app masks is
// taken from `environment`, where a variable of the same name fits; a password also from the profile, where it names the
// very server and user. Throws Unusable when the password that the app logs in with is not to be had.
bool use_app_settings(Settings& settings, const app::AppSettings& app, const Environment& environment);

}  // namespace mail
