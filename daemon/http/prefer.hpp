// Which of several media types a client prefers by its Accept header (RFC 9110, section 12.5.1), where json and text are
// not the question (message.hpp has those).
#pragma once

#include <initializer_list>
#include <string_view>

#include "http/message.hpp"

namespace hatchd::http {

// One of `types` ("text/plain"), of which the first is for who asks for nothing; "" when Accept rules out all of them.
std::string_view preferred_type(const Request& request, std::initializer_list<std::string_view> types);

}  // namespace hatchd::http
