// On which line each value of a JSON text stands. Boost.JSON keeps no positions, so this is a second, simpler walk over
// a text that has already been parsed: it need not judge, only find its way, and it never reads past the end.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hatchd::config {

struct Lines {
  std::map<std::string, unsigned> of;  // JSON Pointer → line from 1; a member's line is its name's
  struct Twice {
    std::string pointer;
    unsigned first, second;
  };
  std::vector<Twice> twice;  // names given twice in one object, where JSON parsers silently take the last
};

// `text`: valid JSON with comments and trailing commas, at most 32 deep.
Lines lines_of(std::string_view text);

// "LINE:COLUMN" of an offset, from 1; columns count bytes.
std::string line_and_column(std::string_view text, std::size_t offset);

}  // namespace hatchd::config
