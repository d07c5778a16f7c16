// What of a log belongs together.
#pragma once

#include <string>
#include <string_view>

namespace common {

// The entry of a log in which the mark stands: back to the begin of its traceback and the line in front of that, on to
// the line of the mark and what is indented below it. Of a line without end, such as JSON, what is around the mark. At
// most 16 KiB.
std::string entry_around(std::string_view text, std::string_view mark);

}  // namespace common
