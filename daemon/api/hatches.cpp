// GET /v1/hatches, GET /v1/hatches/{id}, GET /{group.verb}: what there is, and how to use it.
#include <boost/json.hpp>
#include <vector>

#include "api/api.hpp"
#include "base/json.hpp"
#include "hatch/json.hpp"

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
  const std::string id = hatch_id_of(context);
  view.catalogue = api.catalogue;
  if (id.empty() || view.catalogue->may_be_member(id)) view.catalogue = co_await whole_catalogue(api, view.targets);
  for (const catalogue::Hatch& hatch : view.catalogue->hatches())
    if (access::sees(context.caller, hatch.id, "") && (!narrowed || narrowed->empty() || hatch.applies_to(*narrowed)))
      view.hatches.push_back(&hatch);
  co_return view;
}

// Rests that the caller may know of, as the entry's `resting`.
json::object described(const Api& api, const http::Context& context, const catalogue::Hatch& hatch, const View& view) {
  json::object entry = catalogue::describe(hatch, door_of(api, context), view.targets);
  json::array resting;
  for (const runs::Admission::Rest& rest : api.runner.resting(hatch))
    if (access::sees(context.caller, hatch.id, rest.target))
      resting.push_back(json::object{{"target", rest.target.empty() ? json::value(nullptr) : json::value(rest.target)},
                                     {"crashes", rest.crashes},
                                     {"seconds", rest.seconds}});
  if (!resting.empty()) entry["resting"] = std::move(resting);
  return entry;
}

std::string resting_text(const Api& api, const http::Context& context, const catalogue::Hatch& hatch) {
  std::string text;
  for (const runs::Admission::Rest& rest : api.runner.resting(hatch))
    if (access::sees(context.caller, hatch.id, rest.target))
      text += "  " + hatch.id + (rest.target.empty() ? "" : " on " + rest.target) + " rests for " +
              std::to_string(rest.seconds) + " s more: it crashed " + std::to_string(rest.crashes) +
              " times in a row\n";
  return hatch::printable(text, true);
}

}  // namespace

Answer list_hatches(Api& api, const http::Context& context) {
  const auto view = co_await view_of(api, context);
  if (!view) co_return refused(view.error(), context);
  // A token whose scope names hatches does not learn of plugins that have none.
  const std::vector<catalogue::Absent> absent =
      context.caller.hatches.empty() ? view->catalogue->absent() : std::vector<catalogue::Absent>{};
  if (http::format_of(context.request, context.fallback) == http::Format::text) {
    std::string text = catalogue::list_text(view->hatches, absent), resting;
    for (const catalogue::Hatch* hatch : view->hatches) resting += resting_text(api, context, *hatch);
    if (!resting.empty()) text += "\nresting\n" + resting;
    co_return http::text_response(200, std::move(text));
  }
  json::object body;
  json::array& hatches = body["hatches"].emplace_array();
  for (const catalogue::Hatch* hatch : view->hatches) hatches.push_back(described(api, context, *hatch, *view));
  json::array& plugins = body["unavailable"].emplace_array();
  for (const catalogue::Absent& plugin : absent) plugins.push_back(catalogue::describe(plugin));
  co_return http::json_response(200, pretty(body) + "\n");
}

Answer describe_hatch(Api& api, const http::Context& context) {
  const std::string id = hatch_id_of(context);
  const auto view = co_await view_of(api, context);
  if (!view) co_return refused(view.error(), context);
  const auto profile = context.request.query_value("profile");
  auto found = view->catalogue->find(id, profile, context.request.query_value("target"));
  if (found && !access::sees(context.caller, id, ""))
    found = refuse("hatch-unknown", "there is no hatch \"" + id + "\"");
  // Several kinds and no profile to choose by: people get the page of each; of JSON the first, and which there are.
  std::vector<const catalogue::Hatch*> kinds;
  if (!profile)
    for (const catalogue::Hatch* hatch : view->hatches)
      if (hatch->id == id && !hatch->kind.empty()) kinds.push_back(hatch);
  if (!found && found.error().code == "params-invalid" && !kinds.empty()) found = kinds.front();
  if (!found) co_return refused(found.error(), context);
  if (kinds.size() < 2) kinds = {*found};
  if (http::format_of(context.request, context.fallback) == http::Format::text) {
    std::string text;
    for (const catalogue::Hatch* hatch : kinds)
      text += (text.empty() ? "" : "\n\n") + catalogue::page_text(*hatch, door_of(api, context), view->targets);
    if (const std::string resting = resting_text(api, context, **found); !resting.empty())
      text += "\nRESTING\n" + resting;
    co_return http::text_response(200, std::move(text));
  }
  json::object entry = described(api, context, **found, *view);
  if (kinds.size() > 1) {
    json::array& names = entry["kinds"].emplace_array();
    for (const catalogue::Hatch* hatch : kinds) names.emplace_back(hatch->kind);
  }
  co_return http::json_response(200, pretty(entry) + "\n");
}

}  // namespace hatchd::api
