// GET /metrics: what hatchd counts, and what it sees of the targets, for Prometheus.
#include "metrics/metrics.hpp"

#include "api/api.hpp"
#include "http/prefer.hpp"

namespace hatchd::api {

namespace {

// Scrapers that come together share one look at the targets.
constexpr auto look_lasts = std::chrono::seconds(1);

// Bounded by the finder's patience, which is well below any scraper's.
boost::asio::awaitable<void> look(Api& api) {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - api.looked < look_lasts) co_return;
  const auto listed = co_await api.finder.list();
  api.metrics->look(listed ? &*listed : nullptr);
  if (listed) api.looked = std::chrono::steady_clock::now();
}

}  // namespace

Answer show_metrics(Api& api, const http::Context& context) {
  const std::string_view type = http::preferred_type(context.request, {"text/plain", "application/openmetrics-text"});
  if (type.empty()) {
    const Problem problem{
        "not-acceptable", "there are no metrics of that type", {}, "accept text/plain or application/openmetrics-text"};
    co_return refused(problem, context);
  }
  co_await look(api);
  const metrics::Form form = type == "text/plain" ? metrics::Form::prometheus : metrics::Form::openmetrics;
  const auto sees = [&](std::string_view hatch, std::string_view target) {
    return access::sees(context.caller, hatch, target);
  };
  http::Response response;
  response.body = api.metrics->text(form, sees);
  response.header("Content-Type", std::string(metrics::media_type(form)));
  co_return response;
}

}  // namespace hatchd::api
