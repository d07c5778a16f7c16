// GET /v1/targets, GET /v1/targets/{name}: what is found for each target, and its processes.
#include <boost/json.hpp>

#include "api/api.hpp"
#include "base/json.hpp"
#include "base/table.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

double real_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_number() ? value->to_number<double>() : 0;
}

std::string number_text(const json::object& process, std::string_view name) {
  const json::value* value = process.if_contains(name);
  return value && value->is_number() ? json::serialize(*value) : "-";
}

void rows_of(Table& table, const json::object& target) {
  const std::string name = text_of(target, "name"), state = text_of(target, "state");
  const json::array* processes = array_of(target, "processes");
  if (!processes || processes->empty()) {
    const json::object* problem = object_of(target, "problem");
    table.row({name, state, "-", "-", "-", "-", "-", "-", problem ? text_of(*problem, "detail") : ""});
    return;
  }
  for (const json::value& value : *processes) {
    const json::object* process = value.if_object();
    if (!process) continue;
    table.row({name, state, number_text(*process, "pid"), text_of(*process, "state", "-"),
               text_of(*process, "runtime", "-"), number_text(*process, "threads"),
               process->contains("cpu_seconds") ? short_duration(real_of(*process, "cpu_seconds")) : "-",
               process->contains("resident_bytes") ? short_bytes(real_of(*process, "resident_bytes")) : "-",
               text_of(*process, "executable", text_of(*process, "name"))});
  }
}

std::string text_of_targets(const json::array& targets) {
  Table table({"TARGET", "IS", "PID", "STATE", "RUNTIME", "THREADS", "CPU", "MEMORY", "EXECUTABLE"});
  for (const json::value& value : targets)
    if (const json::object* target = value.if_object()) rows_of(table, *target);
  return table.empty() ? "no targets\n" : table.text();
}

}  // namespace

Answer list_targets(Api& api, const http::Context& context) {
  auto listed = co_await api.finder.list();
  if (!listed) co_return refused(listed.error(), context);
  json::array targets;
  for (json::value& value : *listed)
    if (const json::object* target = value.if_object();
        target && access::sees(context.caller, "", text_of(*target, "name")))
      targets.push_back(std::move(value));
  if (http::format_of(context.request, context.fallback) == http::Format::text)
    co_return http::text_response(200, text_of_targets(targets));
  json::object body;
  body["targets"] = std::move(targets);
  co_return http::json_response(200, pretty(body) + "\n");
}

Answer show_target(Api& api, const http::Context& context) {
  const auto at = context.captures.find("name");
  const std::string name = at == context.captures.end() ? std::string() : at->second;
  Problem unknown{"target-unknown", "there is no target of that name"};
  const std::vector<std::string> names = visible(co_await target_names(api), context.caller, "");
  unknown.candidates = names;
  if (std::find(names.begin(), names.end(), name) == names.end()) co_return refused(unknown, context);
  auto listed = co_await api.finder.list(name);
  if (!listed) co_return refused(listed.error(), context);
  for (const json::value& value : *listed) {
    const json::object* target = value.if_object();
    if (!target || text_of(*target, "name") != name) continue;
    if (http::format_of(context.request, context.fallback) == http::Format::text)
      co_return http::text_response(200, text_of_targets(json::array{value}));
    co_return http::json_response(200, pretty(value) + "\n");
  }
  co_return refused(unknown, context);
}

}  // namespace hatchd::api
