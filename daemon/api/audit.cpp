// GET /v1/audit: who did what, the newest first; with ?event=refused, who was not let.
#include <array>
#include <boost/json.hpp>

#include "api/api.hpp"
#include "audit/read.hpp"
#include "base/json.hpp"
#include "base/table.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

constexpr std::array filters{"event", "run", "hatch", "target", "caller", "outcome", "since", "until", "limit"};

// The beginning of an RFC 3339 time in UTC: "2026-11-23", "2026-11-23T14:40", "2026-11-23T14:40:44.123Z".
bool is_time(std::string_view text) {
  constexpr std::string_view pattern = "dddd-dd-ddTdd:dd:dd.ddd";
  if (text.size() < 4 || text.size() > pattern.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (pattern[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != pattern[i]) return false;
  return true;
}

Result<audit::Query> query_of(const http::Request& request) {
  audit::Query query;
  const auto value = [&](std::string_view name) { return std::string(request.query_value(name).value_or("")); };
  query.event = value("event");
  query.run = value("run");
  query.hatch = value("hatch");
  query.target = value("target");
  query.caller = value("caller");
  query.outcome = value("outcome");
  query.after = value("after");
  if (!query.after.empty() && !is_ulid(query.after))
    return tl::unexpected(invalid("/after", "must be the id of a line of the audit"));
  for (const auto& [name, place] : {std::pair{"since", &query.since}, std::pair{"until", &query.until}}) {
    *place = value(name);
    if (place->ends_with('Z')) place->pop_back();
    if (!place->empty() && !is_time(*place))
      return tl::unexpected(invalid("/" + std::string(name), "must be a time in UTC, such as 2026-11-23T14:40"));
  }
  const auto limit = limit_of(request);
  if (!limit) return tl::unexpected(limit.error());
  query.limit = *limit;
  return query;
}

std::string text_or_dash(const json::object& object, std::string_view name) {
  const std::string text = text_of(object, name);
  return text.empty() ? "-" : text;
}

std::string as_text(const std::vector<json::object>& entries) {
  Table table({"TIME", "EVENT", "CALLER", "FROM", "HATCH", "TARGET", "OUTCOME", "TOOK", "RUN", "REASON"});
  for (const json::object& entry : entries) {
    const json::object none;
    const json::object* caller = object_of(entry, "caller");
    const json::object* target = object_of(entry, "target");
    if (!caller) caller = &none;
    if (!target) target = &none;
    std::string name = text_or_dash(*caller, "name");
    if (const std::string login = text_of(*caller, "login"); !login.empty() && login != name)
      name += " (" + login + ")";
    std::string outcome = text_of(entry, "outcome");
    if (outcome.empty()) outcome = text_or_dash(entry, "code");
    if (const std::int64_t count = number_of(entry, "count"); count > 1) outcome += " x" + std::to_string(count);
    const bool took = entry.contains("duration_ms");
    table.row({text_of(entry, "time").substr(0, 19) + "Z", text_of(entry, "event"), name,
               text_or_dash(*caller, "address"), text_or_dash(entry, "hatch"), text_or_dash(*target, "name"), outcome,
               took ? short_duration(static_cast<double>(number_of(entry, "duration_ms")) / 1000) : "-",
               text_or_dash(entry, "run"), text_or_dash(entry, "reason")});
  }
  return table.empty() ? "nothing is recorded that fits\n" : table.text();
}

}  // namespace

Answer show_audit(Api& api, const http::Context& context) {
  auto query = query_of(context.request);
  if (!query) co_return refused(query.error(), context);
  if (!api.audit) co_return refused(Problem{"internal", "there is no audit"}, context);
  // A token's scope hides here, too.
  const access::Caller caller = context.caller;
  query->visible = [caller](const json::object& entry) {
    const json::object* target = object_of(entry, "target");
    return access::sees(caller, text_of(entry, "hatch"), target ? text_of(*target, "name") : std::string());
  };
  const std::string name = query->event == "refused" ? audit::refused_name(api.audit->name()) : api.audit->name();
  auto work = [directory = api.audit->directory(), name, query = std::move(*query)] {
    return audit::read_page(directory, name, query);
  };
  const audit::Page page = co_await api.pool.run(std::move(work));
  std::string next;
  if (!page.next.empty()) {
    next = "/v1/audit?after=" + page.next;
    for (const char* filter : filters)
      if (const auto value = context.request.query_value(filter))
        next += "&" + std::string(filter) + "=" + runs::encode_segment(*value);
  }
  http::Response response;
  if (http::format_of(context.request, context.fallback) == http::Format::text) {
    std::string text = as_text(page.entries);
    if (!next.empty()) text += "older: " + next + "\n";
    response = http::text_response(200, std::move(text));
  } else {
    json::object body;
    json::array& entries = body["audit"].emplace_array();
    for (const json::object& entry : page.entries) entries.push_back(entry);
    body["next"] = next.empty() ? json::value(nullptr) : json::value(next);
    response = http::json_response(200, pretty(body) + "\n");
  }
  if (!next.empty()) response.header("Link", "<" + next + ">; rel=\"next\"");
  co_return response;
}

}  // namespace hatchd::api
