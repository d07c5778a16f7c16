#include "http/pipeline.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <exception>
#include <optional>

#include "access/attempts.hpp"
#include "base/log.hpp"
#include "hatch/json.hpp"
#include "http/sites.hpp"

namespace hatchd::http {
namespace {

// May this listener serve the route at all? A port for probes and scrapers shows nothing else, whoever calls.
bool listener_serves(const Request& request, access::Action action, const access::Policy& policy) {
  if (request.peer.listener >= policy.listen.size()) return true;
  const std::vector<std::string>& only = policy.listen[request.peer.listener].only;
  const auto names = [&](std::string_view name) { return std::find(only.begin(), only.end(), name) != only.end(); };
  if (only.empty()) return true;
  if (action == access::Action::health) return names("health");
  return action == access::Action::metrics && names("metrics");
}

std::string join(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) (out += out.empty() ? "" : ", ") += item;
  return out;
}

Problem route_unknown(const Router& router, const Request& request) {
  Problem problem{"route-unknown", "there is nothing at " + hatch::printable(request.path.substr(0, 200))};
  const std::string nearest = router.nearest(request.path);
  problem.remedy = nearest.empty() ? "GET / lists what there is" : "did you mean " + nearest + "?";
  return problem;
}

// Who presented too many wrong tokens.
unsigned seconds_to_wait(const Peer& peer, const access::Policy& policy) {
  if (!policy.attempts) return 1;
  const auto left = policy.attempts->wait(access::source_of(peer), access::FailedAttempts::Clock::now());
  return static_cast<unsigned>(std::max<std::int64_t>(left.count(), 1));
}

}  // namespace

Pipeline::Pipeline(Router router, access::Policy policy, std::vector<std::string> hosts)
    : router_(std::move(router)), rules_(std::make_shared<Rules>(Rules{std::move(policy), std::move(hosts)})) {}

void Pipeline::reconfigure(access::Policy policy, std::vector<std::string> hosts) {
  policy.attempts = rules_->policy.attempts;
  rules_ = std::make_shared<Rules>(Rules{std::move(policy), std::move(hosts)});
}

std::shared_ptr<const access::Policy> Pipeline::policy() const {
  return std::shared_ptr<const access::Policy>(rules_, &rules_->policy);
}

// Every way to be refused, in order, before a handler is touched.
boost::asio::awaitable<Result<Response>> Pipeline::go(const Request& request, const Router::Match& match,
                                                      Response& noted) const {
  const std::shared_ptr<const Rules> rules = rules_;  // one configuration for the whole request
  const access::Policy& policy = rules->policy;
  const bool health = match.route && match.route->action == access::Action::health;
  if (match.route) noted.route = match.route->pattern;

  // 1. The request has an id, is well-formed and within its limits: wire.cpp has seen to that.

  // 2. Host: a page that had its own name resolved to this address (DNS rebinding) is told apart by that name. Not on
  // Unix
  //    sockets, which no browser reaches; not for health, which probes ask by whatever name they have.
  const std::string_view host = request.header("host");
  if (!request.peer.local && !health && !host.empty() && !host_allowed(host, rules->hosts))
    co_return refuse("host-unknown",
                     "this hatchd does not answer for the name " + hatch::printable(host.substr(0, 200)),
                     "call it by address or as localhost, or add the name to \"hosts\" in the configuration");

  // 3. Cross-site: no page of another site may cause an effect, whatever rights its visitor has. Reading needs no
  // check:
  //    without CORS headers, which are never sent, the page does not get to see the answer.
  const bool reads = request.method == "GET" || request.method == "HEAD" || request.method == "OPTIONS";
  if (!reads && is_cross_site(request))
    co_return refuse("cross-site", "a page of another site sent this request",
                     "call hatchd from its own pages, curl or hatchctl");

  // 4. Identity. Before the route, so that strangers do not learn which routes there are.
  access::Caller caller;
  if (!health) {
    Result<access::Caller> identified = access::identify(request, policy);
    if (!identified) co_return tl::unexpected(std::move(identified.error()));
    caller = std::move(*identified);
    noted.caller = caller.name;
  }

  // 5. Route.
  if (!match.route && match.allowed.empty()) co_return tl::unexpected(route_unknown(router_, request));
  if (!match.route)
    co_return refuse("method-not-allowed", hatch::printable(request.method.substr(0, 32)) + " does not fit here",
                     "use " + join(match.allowed));

  // 6. What the listener is for.
  if (!listener_serves(request, match.route->action, policy))
    co_return refuse("route-unknown", "this listener serves only " + join(policy.listen[request.peer.listener].only));

  // 7. Authorization, as far as the route alone tells; what depends on hatch, parameters and target the handler asks
  // again.
  access::Ask ask{};
  ask.action = match.route->action;
  if (auto allowed = access::authorize(caller, ask, policy); !allowed)
    co_return tl::unexpected(std::move(allowed.error()));

  // 8. The handler.
  const Context context{request, caller, match.captures, match.route->fallback};
  Response response = co_await match.route->handler(context);

  // 9. A reload while the handler waited may have taken rights away: they are not enjoyed any longer.
  if (auto kept = still_may(caller, request.peer, rules); !kept) co_return tl::unexpected(std::move(kept.error()));
  if (response.stream || response.file)
    response.still_allowed = [this, caller, peer = request.peer, rules] {
      return still_may(caller, peer, rules).has_value();
    };
  co_return std::move(response);
}

Result<void> Pipeline::still_may(const access::Caller& caller, const Peer& peer,
                                 const std::shared_ptr<const Rules>& since) const {
  if (rules_ == since || caller.via.empty()) return {};  // nothing changed, or health, which is open
  auto now = access::renew(caller, peer, rules_->policy);
  if (!now) return tl::unexpected(std::move(now.error()));
  if (access::keeps_rights(caller, *now)) return {};
  return refuse("role-missing", "the rights of " + caller.name + " were changed while this request was under way",
                "ask again, with the rights that are left");
}

boost::asio::awaitable<Response> Pipeline::answer(const Request& request) const {
  const Router::Match match = router_.find(request.method, request.path);
  Response noted;  // what the log and the metrics learn even when the request is refused
  std::optional<Result<Response>> result;
  try {
    result = co_await go(request, match, noted);
  } catch (const boost::system::system_error& error) {
    // The session was ended while the handler waited: there is nobody left to answer.
    if (error.code() == boost::asio::error::operation_aborted) throw;
    log::error("a handler threw", {{"request", request.id}, {"route", noted.route}, {"error", error.what()}});
  } catch (const std::exception& error) {
    // 10. The barrier: what a handler throws is a bug. The client gets the number under which the log has the text.
    log::error("a handler threw", {{"request", request.id}, {"route", noted.route}, {"error", error.what()}});
  } catch (...) {
    log::error("a handler threw", {{"request", request.id}, {"route", noted.route}});
  }

  if (!result) result = refuse("internal", "hatchd met an error of its own", "the log names the request " + request.id);

  Response response;
  if (*result) {
    response = std::move(**result);
  } else {
    const Problem& problem = result->error();
    const Format format = format_of(request, match.route ? match.route->fallback : default_format(request.path));
    std::optional<unsigned> wait;
    if (problem.code == "rate") wait = seconds_to_wait(request.peer, rules_->policy);
    response = problem_response(problem, request, format, {}, wait);
    if (problem.code == "method-not-allowed") response.header("Allow", join(match.allowed));
  }
  response.caller = std::move(noted.caller);
  response.route = std::move(noted.route);
  co_return response;
}

}  // namespace hatchd::http
