// URLs: values in fixed places of them (whole segments of the path, whole values of the query), and showing them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace common {

// Everything but unreserved characters as %XX (RFC 3986, section 2.1).
std::string percent_encoded(std::string_view text);

// `value` says what a whole segment or query value ("{name}") stands for; nullopt: it stays as it is written. Throws
// hatch::Failure for a segment that would change the path: empty, "." or "..".
std::string fill_url(std::string_view url, const std::function<std::optional<std::string>(std::string_view)>& value);

// Of an address what may be shown: without user and password, and without the query, which may hold a key.
std::string shown_url(std::string_view url);

}  // namespace common
