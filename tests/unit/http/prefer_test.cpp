#include "http/prefer.hpp"

#include "catch.hpp"

using namespace hatchd;

TEST_CASE("a scraper gets OpenMetrics when it names it, and no one else does") {
  const auto type = [](const char* accept) {
    http::Request request;
    if (*accept) request.headers.emplace_back("accept", accept);
    return std::string(http::preferred_type(request, {"text/plain", "application/openmetrics-text"}));
  };
  const std::string text = "text/plain", opened = "application/openmetrics-text";
  // What Prometheus 2.42 sends.
  CHECK(type("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
             "text/plain;version=0.0.4;q=0.5,*/*;q=0.1") == opened);
  CHECK(type("text/plain;version=0.0.4;q=0.5,*/*;q=0.1") == text);
  CHECK(type("") == text);
  CHECK(type("*/*") == text);
  CHECK(type("text/*") == text);
  CHECK(type("application/openmetrics-text;q=0.1, text/plain") == text);
  CHECK(type("application/openmetrics-text, text/plain") == text);
  CHECK(type("APPLICATION/OpenMetrics-Text") == opened);
  CHECK(type("text/plain;q=0, */*;q=0.2") == opened);
  CHECK(type("image/png").empty());
  CHECK(type("*/*;q=0").empty());
}
