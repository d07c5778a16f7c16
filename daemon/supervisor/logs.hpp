// Where the targets' logs are: who hears of which part of `targets.NAME.log`.
#pragma once

#include <boost/json/object.hpp>

#include "config/config.hpp"

namespace hatchd::supervisor {

// For the plugins that look into logs: the log of each target by its name, "within" as milliseconds `within_ms`.
boost::json::object logs_of(const config::Config& config);
// Does reading one of them take a program (the journal's, or one of the configuration)?
bool need_programs(const boost::json::object& logs);

// `targets` for everybody else: without commands and addresses, which may hold secrets.
boost::json::object without_logs(boost::json::object targets);

}  // namespace hatchd::supervisor
