#include "front/routes.hpp"

namespace hatchd::front {

namespace {

using access::Action;
using http::Format;

struct Entry {
  const char *method, *pattern;
  Action action;
  api::Answer (*handler)(api::Api&, const http::Context&);
  Format fallback = Format::json;
};

// A GET describes, a POST runs. The last two are the short door for people: the same handlers, text by default.
constexpr Entry table[] = {
    {"GET", "/", Action::index, api::index, Format::text},
    {"GET", "/robots.txt", Action::health, api::robots, Format::text},
    {"GET", "/livez", Action::health, api::livez, Format::text},
    {"GET", "/healthz", Action::health, api::livez, Format::text},
    {"GET", "/readyz", Action::health, api::readyz, Format::text},
    {"GET", "/openapi.json", Action::index, api::openapi},
    {"GET", "/metrics", Action::metrics, api::show_metrics, Format::text},
    {"GET", "/v1/hatches", Action::list, api::list_hatches},
    {"GET", "/v1/hatches/{id}", Action::list, api::describe_hatch},
    {"POST", "/v1/hatches/{id}", Action::run, api::invoke},
    {"GET", "/v1/targets", Action::list, api::list_targets},
    {"GET", "/v1/targets/{name}", Action::list, api::show_target},
    {"GET", "/v1/runs", Action::list, api::list_runs},
    {"GET", "/v1/runs/{id}", Action::read, api::show_run},
    {"DELETE", "/v1/runs/{id}", Action::cancel, api::cancel_run},
    {"GET", "/v1/runs/{id}/events", Action::read, api::follow_run},
    {"GET", "/v1/runs/{id}/artifacts/{name}", Action::read, api::get_artifact},
    {"DELETE", "/v1/runs/{id}/artifacts/{name}", Action::remove, api::remove_artifact},
    {"GET", "/v1/audit", Action::audit, api::show_audit},
    {"GET", "/{group.verb}", Action::list, api::describe_hatch, Format::text},
    {"POST", "/{group.verb}", Action::run, api::invoke, Format::text},
};

}  // namespace

http::Router routes(api::Api& api) {
  http::Router router;
  for (const Entry& entry : table) {
    api.routes.push_back({entry.method, entry.pattern, entry.action});
    router.add({entry.method, entry.pattern, entry.action,
                [&api, handler = entry.handler](const http::Context& context) { return handler(api, context); },
                entry.fallback});
  }
  return router;
}

}  // namespace hatchd::front
