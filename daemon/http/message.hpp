// Requests and responses as plain values. Nothing here knows Beast, so handlers compile quickly and tests make requests
// by hand; wire.cpp is the only file that reads and writes HTTP.
#pragma once

#include <sys/types.h>

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/problem.hpp"

namespace hatchd::http {

// Who is at the other end, as the kernel says.
struct Peer {
  bool local = false;  // a Unix socket
  bool tls = false;
  uid_t uid = 0;  // SO_PEERCRED, local only
  gid_t gid = 0;
  pid_t pid = 0;
  std::vector<gid_t> groups;  // SO_PEERGROUPS
  std::string login;          // user name of /proc/PID/loginuid, "" when unset
  std::string address;        // "127.0.0.1:51234", or "unix"
  std::size_t listener = 0;   // index into the configuration's `listen`
};

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string id;      // ULID, in Hatchd-Request-Id and the log
  std::string method;  // "GET"
  std::string target;  // as it came: "/v1/runs?limit=3"
  std::string path;    // decoded, without query; never empty
  Fields query;        // decoded, in order
  Fields headers;      // names in lower case, in order
  std::string body;
  Peer peer;
  std::function<bool()> gone;  // has the client hung up?

  // The first header of that name (lower case), or "".
  std::string_view header(std::string_view name) const;
  // The first query value of that name, or nullopt.
  std::optional<std::string_view> query_value(std::string_view name) const;
};

// A body that comes in pieces (server-sent events). next() yields the next piece, or nullopt at the end.
class BodyStream {
 public:
  virtual ~BodyStream() = default;
  virtual boost::asio::awaitable<std::optional<std::string>> next() = 0;
};

struct Response {
  unsigned status = 200;
  Fields headers;    // besides Content-Length, Date, Connection and what wire.cpp adds to every response
  std::string body;  // either this …
  std::shared_ptr<BodyStream> stream;  // … or this …
  UniqueFd file;                       // … or `file_bytes` bytes of this from `file_offset`
  std::uint64_t file_offset = 0, file_bytes = 0;
  // Asked while a stream or a file is under way, when rights have changed: false ends it. Set by the pipeline.
  std::function<bool()> still_allowed;
  // For the access log and the metrics; set by the pipeline.
  std::string caller;  // "alice", "" when nobody was identified
  std::string route;   // the pattern, "" when none matched
  std::string code;    // of a problem, "" for none

  Response& header(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

// "text/plain; charset=utf-8" and "application/json".
Response text_response(unsigned status, std::string body);
Response json_response(unsigned status, std::string body);

// How the client wants its answer: by ?format=, else by Accept with q-values (RFC 9110), else `fallback`.
enum class Format { json, text, events };
Format format_of(const Request& request, Format fallback);
// The same among what a handler offers: `not-acceptable` when the client's Accept rules out all of it.
Result<Format> acceptable(const Request& request, std::initializer_list<Format> offered, Format fallback);
// What a client gets that asks for nothing: JSON below /v1, text at the short door and elsewhere.
Format default_format(std::string_view path);

// Percent-decoding (RFC 3986); with `form`, '+' is a space. nullopt for a broken escape, a NUL, or bytes that are not
// UTF-8.
std::optional<std::string> url_decode(std::string_view text, bool form);
// name=value&name=value, decoded, in order; at most 256 of them.
Result<Fields> parse_form(std::string_view text);

// The one table from a problem's code to status and title; a code that is not in it is a bug and becomes 500.
unsigned status_of(std::string_view code);
// application/problem+json (RFC 9457), or three lines of text where the client asked for text. `extra`: further members
// as JSON object text without braces, such as "\"run\": {…}"; empty for none. Adds WWW-Authenticate, Retry-After, Allow
// where due.
Response problem_response(const Problem& problem, const Request& request, Format format, std::string_view extra = {},
                          std::optional<unsigned> retry_after = {});

}  // namespace hatchd::http
