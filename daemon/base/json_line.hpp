// JSON on one line, for files and streams that people read in a terminal: audit, events.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

namespace hatchd {

// Ends without a newline. What could turn or hide text on a terminal is escaped, as pretty() does it; to a parser it is
// the same text.
std::string json_line(const boost::json::value& value);

}  // namespace hatchd
