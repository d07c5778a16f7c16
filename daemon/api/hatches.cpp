// GET /v1/hatches, GET /v1/hatches/{id}, GET /{group.verb}: what there is, and how to use it.
#include <boost/json.hpp>

#include "api/api.hpp"
#include "base/json.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

struct View {
  std::shared_ptr<const catalogue::Catalogue> catalogue;  // what `hatches` points into
  std::vector<const catalogue::Hatch*> hatches;
  std::vector<std::string> targets;
};

// What the caller sees, narrowed to ?target= when that is given.
boost::asio::awaitable<Result<View>> view_of(Api& api, const http::Context& context) {
  View view;
  view.catalogue = api.catalogue;
  view.targets = visible(co_await target_names(api), context.caller, "");
  const auto narrowed = context.request.query_value("target");
  if (narrowed && !narrowed->empty()) {
    if (std::find(view.targets.begin(), view.targets.end(), *narrowed) == view.targets.end()) {
      Problem problem{"target-unknown", "there is no target of that name"};
      problem.candidates = view.targets;
      co_return tl::unexpected(std::move(problem));
    }
    view.targets = {std::string(*narrowed)};
  }
  for (const catalogue::Hatch& hatch : view.catalogue->hatches())
    if (access::sees(context.caller, hatch.id, "") && (!narrowed || narrowed->empty() || hatch.applies_to(*narrowed)))
      view.hatches.push_back(&hatch);
  co_return view;
}

}  // namespace

Answer list_hatches(Api& api, const http::Context& context) {
  const auto view = co_await view_of(api, context);
  if (!view) co_return refused(view.error(), context);
  // A token whose scope names hatches does not learn of plugins that have none.
  const std::vector<catalogue::Absent> absent =
      context.caller.hatches.empty() ? view->catalogue->absent() : std::vector<catalogue::Absent>{};
  if (http::format_of(context.request, context.fallback) == http::Format::text)
    co_return http::text_response(200, catalogue::list_text(view->hatches, absent));
  const catalogue::Door door = door_of(api, context);
  json::object body;
  json::array& hatches = body["hatches"].emplace_array();
  for (const catalogue::Hatch* hatch : view->hatches)
    hatches.push_back(catalogue::describe(*hatch, door, view->targets));
  json::array& plugins = body["unavailable"].emplace_array();
  for (const catalogue::Absent& plugin : absent) plugins.push_back(catalogue::describe(plugin));
  co_return http::json_response(200, pretty(body) + "\n");
}

Answer describe_hatch(Api& api, const http::Context& context) {
  const std::string id = hatch_id_of(context);
  const auto view = co_await view_of(api, context);
  if (!view) co_return refused(view.error(), context);
  const auto profile = context.request.query_value("profile");
  auto found = view->catalogue->find(id, profile);
  if (found && !access::sees(context.caller, id, ""))
    found = refuse("hatch-unknown", "there is no hatch \"" + id + "\"");
  // Several kinds and no profile to choose by: the first stands for all, since describing runs nothing.
  if (!found && found.error().code == "params-invalid" && !profile)
    for (const catalogue::Hatch* hatch : view->hatches)
      if (hatch->id == id) {
        found = hatch;
        break;
      }
  if (!found) co_return refused(found.error(), context);
  const catalogue::Door door = door_of(api, context);
  if (http::format_of(context.request, context.fallback) == http::Format::text)
    co_return http::text_response(200, catalogue::page_text(**found, door, view->targets));
  co_return http::json_response(200, pretty(catalogue::describe(**found, door, view->targets)) + "\n");
}

}  // namespace hatchd::api
