// The lines of the audit (docs/audit.md): one JSON object each, beginning with `id`, `time` and `event`.
#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "access/access.hpp"
#include "http/message.hpp"

namespace hatchd::audit {

// Where a call came from, besides its caller.
struct Origin {
  pid_t pid = 0;            // of the peer on a Unix socket
  std::string address;      // "127.0.0.1:51234", "unix"
  std::string request;      // Hatchd-Request-Id
  std::string traceparent;  // valid, or ""
};
Origin origin_of(const http::Request& request);

// The header of W3C Trace Context, level 1: the text itself when it is valid, else "".
std::string valid_traceparent(std::string_view text);

// `id`, `time`, `event`.
boost::json::object entry(std::string_view event);
// `caller`, `request`, `traceparent`.
void add_caller(boost::json::object& entry, const access::Caller& caller, const Origin& origin);

// Of a line as it is in the file, without parsing it. "" where it has none.
std::string_view id_of(std::string_view line);
struct RunEvent {
  enum { other, begin, end } what = other;
  std::string_view run;
};
RunEvent run_event_of(std::string_view line);

}  // namespace hatchd::audit
