// Reading JSON that somebody else wrote: a member that is absent or of the wrong type is the fallback. Messages between
// hatchd's processes are read this way, because each side may be captured. Input of people is validated by schema/.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"

namespace hatchd {

std::string text_of(const boost::json::object& object, std::string_view name, std::string_view fallback = {});
std::int64_t number_of(const boost::json::object& object, std::string_view name, std::int64_t fallback = 0);
bool flag_of(const boost::json::object& object, std::string_view name, bool fallback = false);
const boost::json::object* object_of(const boost::json::object& object, std::string_view name);  // nullptr: none
const boost::json::array* array_of(const boost::json::object& object, std::string_view name);    // nullptr: none
std::vector<std::string> texts_of(const boost::json::object& object, std::string_view name);

// Parses strict JSON, at most `max_depth` deep. The problem (`code`) names line and column.
Result<boost::json::value> parse_json(std::string_view text, std::string_view code = "malformed",
                                      unsigned max_depth = 32);

// Two spaces an indent, a line a member, short arrays of scalars on one line; ends without a newline.
// `indent`: how deep the value will stand in the text around it.
std::string pretty(const boost::json::value& value, unsigned indent = 0);

// The same for JSON text, without building a tree: constant memory beside the output. Refuses invalid JSON with `code`.
// What would grow beyond four times the text and 1 MiB, by the indentation of a great depth, comes on one line.
Result<std::string> pretty_text(std::string_view json, unsigned indent, std::string_view code);

}  // namespace hatchd
