// The words that failures are told in, and the small facts about values that every keyword needs.
#pragma once

#include <boost/json/fwd.hpp>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hatchd::schema {

// A schema nests, and so does a value; both come from outside.
inline constexpr unsigned max_depth = 32;
inline constexpr std::size_t max_errors = 100;

// Appends "/segment" with ~ and / escaped (RFC 6901). A segment of more than 200 bytes is cut: the sender chose it, and
// it stands in every failure below it.
void append_segment(std::string& pointer, std::string_view segment);
std::string child(std::string_view pointer, std::string_view segment);
std::string child(std::string_view pointer, std::size_t index);

// The candidate that `word` most likely meant; empty when none is close.
std::string nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// JSON text of a value, shortened: what a sentence quotes.
std::string quoted(const boost::json::value& value);
// "\"a\", \"b\"", at most 30 of them.
std::string quoted_list(const std::vector<std::string_view>& words);
std::string quoted_list(const boost::json::array& values);

std::size_t code_points(std::string_view text);

// Numbers compare by value, whatever kind Boost.JSON stored them as; no bit of an int64 is lost.
std::partial_ordering compare_numbers(const boost::json::value& a, const boost::json::value& b);
// Equality as JSON Schema means it: 1 and 1.0 are the same.
bool same(const boost::json::value& a, const boost::json::value& b);
// A number without a fraction, of whatever kind.
bool is_whole(const boost::json::value& value);

// A scalar as x-effect and a query string write it: text without quotes, "true", "3". Empty for lists and objects.
std::string scalar_text(const boost::json::value& value);

// Does all of `text` match `pattern`? No backtracking: time grows with the text, not exponentially (libstdc++'s
// Thompson automaton; back-references are refused). Bytes, not code points. A pattern that does not compile matches
// nothing.
bool matches(const std::string& pattern, std::string_view text);
bool compiles(const std::string& pattern);

// format: a sentence that says what is expected, empty when `text` is it. `known_format`: is there such a format?
std::string format_failure(std::string_view format, std::string_view text);
bool known_format(std::string_view format);

}  // namespace hatchd::schema
