// A report as JSON members and as the text that a person reads: a transcript with timings.
#pragma once

#include <string>

#include "hatch/hatch.hpp"
#include "mail/report.hpp"
#include "mail/settings.hpp"

namespace mail {

// Where the settings came from and from where the server was spoken to.
struct Vantage {
  std::string from = "profile", network = "hatchd", resolver = "hatchd";
};

hatch::Result result_of(const Report& report, const Settings& settings, const Vantage& vantage, bool sent);

}  // namespace mail
