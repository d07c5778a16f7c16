// One HTTP/1.1 request on a connection that is there already, many at once, each bounded in size and all in time. What
// answers is the target: nothing of it is trusted.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "hatch/hatch.hpp"

namespace app {

struct Exchange {
  int fd = -1;          // non-blocking
  std::string request;  // what is still to be sent
  std::string answer;   // what came
  std::string why;      // why there is no whole answer; empty: there is
  double ms = 0;        // until it was there
  bool over = false;
};

// A request whole: "GET /hatches", "POST /hatches/x" with a JSON body.
std::string request_text(std::string_view method, std::string_view path, std::string_view body,
                         const std::vector<std::pair<std::string_view, std::string>>& headers = {});

// Sends and receives until each exchange is over or `limit` has passed. Throws hatch::Cancelled.
void perform(const hatch::Run& run, std::vector<Exchange>& exchanges, std::chrono::milliseconds limit,
             std::size_t max_bytes);

struct Response {
  unsigned status = 0;
  std::string body;
};
// The answer taken apart. False: it is no HTTP/1.x response, or not whole.
bool parse_response(std::string_view bytes, Response& out);

}  // namespace app
