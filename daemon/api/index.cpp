// GET /: where to go from here. GET /robots.txt: nowhere.
#include <boost/json.hpp>

#include "api/api.hpp"
#include "base/json.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

struct Link {
  const char* name;
  const char* path;
  const char* what;
};
constexpr Link links[] = {
    {"hatches", "/v1/hatches", "what can be done, and how"},
    {"targets", "/v1/targets", "what it can be done to"},
    {"runs", "/v1/runs", "what was done"},
    {"livez", "/livez", "is hatchd alive"},
    {"readyz", "/readyz", "is hatchd ready"},
    {"metrics", "/metrics", "numbers for Prometheus"},
    {"openapi", "/openapi.json", "this API, described for programs (OpenAPI 3.1)"},
};

}  // namespace

Answer index(Api& api, const http::Context& context) {
  const bool admin = context.caller.role >= access::Role::admin;
  if (http::format_of(context.request, http::Format::text) != http::Format::text) {
    json::object body;
    for (const Link& link : links) body[link.name] = link.path;
    if (admin && !api.reload.time.empty())
      body["reload"] = {{"time", api.reload.time},
                        {"outcome", api.reload.taken ? "succeeded" : "failed"},
                        {"detail", api.reload.taken ? json::value(nullptr) : json::value(api.reload.detail)}};
    co_return http::json_response(200, pretty(body) + "\n");
  }
  const std::string door = catalogue::curl_door(door_of(api, context));
  std::string text = "hatchd: maintenance hatches into running processes\n\n";
  for (const Link& link : links) {
    std::string line =
        "  " + door + link.path + (std::string_view(link.path).starts_with("/v1") ? " -H Accept:text/plain" : "");
    text += line + "\n      " + link.what + "\n";
  }
  // One that works on any process is the best to begin with.
  const catalogue::Hatch* first = nullptr;
  for (const catalogue::Hatch& hatch : api.catalogue->hatches()) {
    if (!hatch.enabled || !access::sees(context.caller, hatch.id, "") || context.caller.role < hatch.least_role())
      continue;
    if (!first || hatch.id == "stack.dump") first = &hatch;
  }
  if (first)
    text += "\nRun a hatch:\n  " +
            catalogue::curl_line(*first, door_of(api, context), visible(api.targets, context.caller, first->id)) + "\n";
  if (admin && !api.reload.time.empty())
    text += "\nThe configuration was " +
            (api.reload.taken ? "taken over at " + api.reload.time
                              : "not taken over at " + api.reload.time + ": " + api.reload.detail) +
            "\n";
  co_return http::text_response(200, std::move(text));
}

Answer robots(Api&, const http::Context&) { co_return http::text_response(200, "User-agent: *\nDisallow: /\n"); }

}  // namespace hatchd::api
