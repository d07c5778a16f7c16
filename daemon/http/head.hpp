// The first part of a response: status line and header, with what every response of hatchd carries.
#pragma once

#include <string>
#include <string_view>

#include "http/message.hpp"

namespace hatchd::http {

struct Framing {
  bool http11 = true;
  bool body = true;  // false: HEAD, 204, 304
  bool chunked = false;
  bool keep_alive = true;
};

std::string head_of(const Request& request, const Response& response, const Framing& framing, std::string_view reason);

}  // namespace hatchd::http
