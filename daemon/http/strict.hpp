// What Beast lets through and hatchd does not. Two readers that understand one request in two ways are how requests are
// smuggled past a proxy (RFC 9112, section 11.2), so only the strict form of everything passes. Each function says what
// is wrong, or nullptr.
#pragma once

#include <cstddef>
#include <string_view>

#include "http/message.hpp"

namespace hatchd::http {

// Of the first bytes of a header that may still be incomplete; those before `from` were looked at already.
const char* fault_of_start(std::string_view bytes, std::size_t from);
// Of a whole header block, with the empty line at its end.
const char* fault_of_lines(std::string_view head);
// Of fields as they stand in Request::headers.
const char* fault_of_fields(const Fields& fields, bool http11);
// Splits Request::target into path and query, both decoded.
const char* fault_of_target(Request& request);

}  // namespace hatchd::http
