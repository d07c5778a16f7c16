// The routes of /v1 and the short door. Each family is a file; what they share is here: the parts of the front that
// they speak to, handed over by front/front.cpp.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/finder.hpp"
#include "api/members.hpp"
#include "catalogue/catalogue.hpp"
#include "catalogue/describe.hpp"
#include "http/budget.hpp"
#include "http/message.hpp"
#include "http/router.hpp"
#include "runs/runner.hpp"

namespace hatchd::metrics {
class Metrics;
}

namespace hatchd::api {

using Answer = boost::asio::awaitable<http::Response>;

struct Listener {
  std::string unix_path, tcp;  // one of them, as bound
  bool tls = false;
};

// The last reload of the configuration, by this process's lifetime.
struct Reload {
  std::string time;  // RFC 3339; "": there was none
  bool taken = false;
  std::string detail;  // why not; printable, masked
};

// A route as it is described (openapi.cpp).
struct RouteEntry {
  std::string_view method, pattern;
  access::Action action;
};

struct Api {
  std::shared_ptr<const catalogue::Catalogue> catalogue;  // a reload replaces it: take it once, keep it for the request
  runs::Runner& runner;
  runs::Pool& pool;
  Finder& finder;
  std::function<std::shared_ptr<const access::Policy>()> policy;  // as it is now
  std::vector<Listener> listeners;
  std::vector<std::string> targets;  // configured names
  bool discovers_targets = false;    // "*" is configured: more names come from the finder
  bool ready = false, stopping = false;
  audit::Audit* audit = nullptr;        // set before the first request
  metrics::Metrics* metrics = nullptr;  // set before the first request
  std::vector<RouteEntry> routes{};     // all of them
  std::string version{};
  Reload reload{};
  SteadyTime looked{};         // when metrics last heard of the targets
  Members* members = nullptr;  // set before the first request; without it (in tests) there are none
  runs::Pool layouts{1};  // of results, one at a time: a large one takes seconds, and the pool's threads write records
  std::shared_ptr<http::Budget> laying_out = std::make_shared<http::Budget>();  // bytes of results that wait there
  // An artifact is gone, and this is the last that knows its digest. For the audit.
  std::function<void(const http::Context&, const runs::Run&, const runs::Artifact&)> artifact_removed{};
};

// hatches.cpp
Answer list_hatches(Api& api, const http::Context& context);
Answer describe_hatch(Api& api, const http::Context& context);
// invoke.cpp
Answer invoke(Api& api, const http::Context& context);
// runs.cpp
Answer list_runs(Api& api, const http::Context& context);
Answer show_run(Api& api, const http::Context& context);
Answer cancel_run(Api& api, const http::Context& context);
Answer follow_run(Api& api, const http::Context& context);
// artifacts.cpp
Answer get_artifact(Api& api, const http::Context& context);
Answer remove_artifact(Api& api, const http::Context& context);
// audit.cpp
Answer show_audit(Api& api, const http::Context& context);
// targets.cpp
Answer list_targets(Api& api, const http::Context& context);
Answer show_target(Api& api, const http::Context& context);
// health.cpp
Answer livez(Api& api, const http::Context& context);
Answer readyz(Api& api, const http::Context& context);
// metrics.cpp
Answer show_metrics(Api& api, const http::Context& context);
// openapi.cpp
Answer openapi(Api& api, const http::Context& context);
// index.cpp
Answer index(Api& api, const http::Context& context);
Answer robots(Api& api, const http::Context& context);

// ---- shared by the routes: common.cpp
// ----------------------------------------------------------------------------------

// How this caller reaches this daemon.
catalogue::Door door_of(const Api& api, const http::Context& context);
// The id of a hatch in the path: {id} below /v1, {group.verb} at the short door.
std::string hatch_id_of(const http::Context& context);
// The catalogue with the hatches that were found in the targets, of which `names` are asked.
boost::asio::awaitable<std::shared_ptr<const catalogue::Catalogue>> whole_catalogue(Api& api,
                                                                                    std::vector<std::string> names);
// All target names, from the configuration and, where it has "*", from the finder.
boost::asio::awaitable<std::vector<std::string>> target_names(Api& api);
std::vector<std::string> visible(const std::vector<std::string>& names, const access::Caller& caller,
                                 std::string_view hatch);
// A page's length from ?limit=, at most 200.
Result<std::size_t> limit_of(const http::Request& request);
// params-invalid at one place.
Problem invalid(std::string pointer, std::string detail);
// A problem in the form that the client asked for.
http::Response refused(const Problem& problem, const http::Context& context);

// The right to see one run: the run, or the problem of its absence or of authorize().
boost::asio::awaitable<Result<runs::Run>> readable_run(Api& api, const http::Context& context, access::Action action);

// The run as the answer to its caller: reply.cpp.
struct Wanted {
  http::Format format = http::Format::json;
  std::string rendering;  // a declared one beside json and text; "": none
};
// `status` for a run that did not fail: 200, 202. A run that failed is its problem (424) unless `described`, which is
// for GET of a run: reading about a failure is no failure.
Answer reply(Api& api, const http::Context& context, const runs::Run& run, const Wanted& wanted, unsigned status,
             bool described);
// Server-sent events of a run from the event behind `after`: stream.cpp. `cancels`: the run ends with its stream.
http::Response live_events(Api& api, runs::LivePtr live, std::uint64_t after, bool cancels);
Answer events_of(Api& api, const runs::Run& run, std::uint64_t after);

}  // namespace hatchd::api
