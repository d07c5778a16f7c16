// What a report means to a person: one sentence, and what to try next.
#pragma once

#include <string>

#include "mail/report.hpp"
#include "mail/settings.hpp"

namespace mail {

// `sent`: the errand was to send and not only to check.
std::string verdict_of(const Report& report, const Settings& settings, bool sent);

// Empty: nothing to add.
std::string hint_of(const Report& report, const Settings& settings);

}  // namespace mail
