// GET /v1/runs, GET and DELETE /v1/runs/{id}, GET /v1/runs/{id}/events: what was run, and what runs.
#include <boost/json.hpp>
#include <charconv>

#include "api/api.hpp"
#include "base/json.hpp"
#include "base/table.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

Result<runs::Store::Query> query_of(const http::Request& request) {
  runs::Store::Query query;
  const auto value = [&](std::string_view name) { return std::string(request.query_value(name).value_or("")); };
  query.hatch = value("hatch");
  query.target = value("target");
  query.after = value("after");
  if (const std::string state = value("state"); !state.empty()) {
    query.state = runs::parse_state(state);
    if (!query.state) {
      std::string names;
      for (const runs::State known : runs::all_states) (names += names.empty() ? "" : ", ") += to_string(known);
      return tl::unexpected(invalid("/state", "must be one of: " + names));
    }
  }
  if (!query.after.empty() && !is_ulid(query.after))
    return tl::unexpected(invalid("/after", "must be the id of a run"));
  const auto limit = limit_of(request);
  if (!limit) return tl::unexpected(limit.error());
  query.limit = *limit;
  return query;
}

std::string first_line(const std::string& text, std::size_t max) {
  std::string line = text.substr(0, std::min(text.find('\n'), text.size()));
  if (line.size() <= max) return line;
  std::size_t cut = max;
  while (cut > 0 && (line[cut] & 0xC0) == 0x80) --cut;  // not inside a code point
  return line.substr(0, cut) + "…";
}

std::string list_text(const std::vector<runs::Run>& listed) {
  Table table({"RUN", "CREATED", "STATE", "HATCH", "TARGET", "CALLER", "TOOK", "VERDICT"});
  for (const runs::Run& run : listed)
    table.row({run.id, rfc3339(run.created()).substr(0, 19) + "Z", std::string(to_string(run.state)), run.hatch,
               run.target.empty() ? "-" : run.target, run.caller,
               is_over(run.state) ? short_duration(static_cast<double>(run.duration_ms) / 1000) : "-",
               first_line(run.error ? run.error->detail : run.verdict, 80)});
  return table.empty() ? "no runs\n" : table.text();
}

}  // namespace

Answer list_runs(Api& api, const http::Context& context) {
  auto query = query_of(context.request);
  if (!query) co_return refused(query.error(), context);
  const auto policy = api.policy();
  const access::Caller& caller = context.caller;
  query->visible = [&](const runs::Entry& entry) {
    return access::authorize(caller, {access::Action::read, entry.hatch, entry.effect, entry.role, entry.target},
                             *policy)
        .has_value();
  };
  const runs::Runner::Listed listed = co_await api.runner.list(std::move(*query));
  std::string next;
  if (!listed.next.empty()) {
    next = "/v1/runs?after=" + listed.next;
    for (const char* name : {"hatch", "target", "state", "limit"})
      if (const auto value = context.request.query_value(name))
        next += "&" + std::string(name) + "=" + runs::encode_segment(*value);
  }
  http::Response response;
  if (http::format_of(context.request, context.fallback) == http::Format::text) {
    response =
        http::text_response(200, list_text(listed.runs) + (listed.whole ? "" : "older runs are still being read\n"));
  } else {
    json::object body;
    json::array& entries = body["runs"].emplace_array();
    for (const runs::Run& run : listed.runs) entries.push_back(runs::to_json(run));
    body["next"] = next.empty() ? json::value(nullptr) : json::value(next);
    response = http::json_response(200, pretty(body) + "\n");
  }
  if (!next.empty()) response.header("Link", "<" + next + ">; rel=\"next\"");
  co_return response;
}

Answer show_run(Api& api, const http::Context& context) {
  auto run = co_await readable_run(api, context, access::Action::read);
  if (!run) co_return refused(run.error(), context);
  // The result may be large; who only wants to know how it went leaves it out.
  if (context.request.query_value("result") == "false")
    co_return http::json_response(200, pretty(runs::to_json(*run)) + "\n");
  const std::string format(context.request.query_value("format").value_or(""));
  Wanted wanted{http::format_of(context.request, context.fallback), ""};
  if (!format.empty() && format != "json" && format != "text") {
    if (!runs::is_rendering_name(format))
      co_return refused(invalid("/format", "is not the name of a rendering"), context);
    wanted.rendering = format;
  }
  co_return co_await reply(api, context, *run, wanted, 200, true);
}

Answer cancel_run(Api& api, const http::Context& context) {
  using namespace std::chrono_literals;
  const auto run = co_await readable_run(api, context, access::Action::cancel);
  if (!run) co_return refused(run.error(), context);
  const runs::LivePtr live = api.runner.live(run->id);
  // Also while its end is being recorded: who reads it is told that it has ended.
  if (!live || live->over || runs::is_over(run->state))
    co_return refused(Problem{"run-ended", "the run has ended: it is " + std::string(to_string(run->state))}, context);
  if (api.audit) {
    json::object line = audit::entry("cancel");
    line["run"] = run->id;
    line["hatch"] = run->hatch;
    line["target"] = run->target.empty() ? json::value(nullptr) : json::value(json::object{{"name", run->target}});
    audit::add_caller(line, context.caller, audit::origin_of(context.request));
    api.audit->write(line, false);
  }
  api.runner.cancel(live);
  // Most runs end at once when they are asked to: then the answer is the end.
  co_await api.runner.wait(live, std::chrono::steady_clock::now() + 2s);
  const Wanted wanted{http::format_of(context.request, context.fallback), ""};
  co_return co_await reply(api, context, live->run, wanted, live->over ? 200 : 202, true);
}

Answer follow_run(Api& api, const http::Context& context) {
  const auto run = co_await readable_run(api, context, access::Action::read);
  if (!run) co_return refused(run.error(), context);
  std::uint64_t after = 0;
  const std::string_view last = context.request.header("last-event-id");
  if (!last.empty()) {
    const auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), after);
    if (error != std::errc() || end != last.data() + last.size())
      co_return refused(Problem{"malformed", "Last-Event-ID is not a number that came from here"}, context);
  }
  co_return co_await events_of(api, *run, after);
}

}  // namespace hatchd::api
