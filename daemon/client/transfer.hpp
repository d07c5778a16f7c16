// One HTTP exchange with the daemon, by libcurl: over a Unix socket or TCP, never through a proxy, never following a
// redirect, with a bound on time and size.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/problem.hpp"
#include "client/endpoint.hpp"

namespace hatchd::client {

struct Call {
  std::string method = "GET";
  std::string path;                 // with its query
  std::string body;                 // a form; POST only
  bool json = false;                // Accept
  std::chrono::seconds limit{60};   // for the whole of it; 0: none
  std::chrono::seconds silence{0};  // ends it when nothing came for so long; 0: never
  std::string accept{};             // instead of what `json` says
  std::vector<std::pair<std::string, std::string>> headers{};
  std::function<bool()> go_on{};  // asked about once a second, and after a signal; false ends it
};

struct Answer {
  long status = 0;
  std::string location;
  std::string body;  // unless it went to the sink
};

// Takes the pieces of a successful body as they come; false ends the exchange.
using Sink = std::function<bool(std::string_view piece)>;

inline constexpr std::size_t max_answer = 256u << 20;  // what goes to a sink
inline constexpr std::size_t max_kept = 4u << 20;      // what is kept in Answer::body

// Problem codes: `cannot-connect` (nothing was sent), `connection-broken` (whether a run happened is not known).
Result<Answer> exchange(const Endpoint& endpoint, const Call& call, const Sink& sink = {});

}  // namespace hatchd::client
