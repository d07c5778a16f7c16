// One HTTP request, by libcurl.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace common {

struct HttpRequest {
  std::string method = "GET", url;
  std::string type, body;            // type empty: without a body
  std::vector<std::string> headers;  // "Name: value"
};

struct HttpResponse {
  long status = 0;
  std::string type, body;
  bool cut = false;  // the body was longer than 1 MiB
  double ms = 0;
};

// No redirection is followed, and no proxy of the environment used. Throws hatch::Failure when there was no answer within
// `limit`, hatch::Cancelled when `cancelled` said so.
HttpResponse send(const HttpRequest& request, std::chrono::milliseconds limit, const std::function<bool()>& cancelled);

}  // namespace common
