// GET /livez, /healthz, /readyz: the daemon's own health, for probes. Open to everybody, so they say nothing else; and
// they ask nobody, so that a target in trouble does not get its helper restarted.
#include "api/api.hpp"

namespace hatchd::api {

Answer livez(Api&, const http::Context&) { co_return http::text_response(200, "ok\n"); }

Answer readyz(Api& api, const http::Context&) {
  if (api.ready && !api.stopping) co_return http::text_response(200, "ready\n");
  http::Response response = http::text_response(503, api.stopping ? "stopping\n" : "starting\n");
  response.header("Retry-After", "1");
  co_return response;
}

}  // namespace hatchd::api
