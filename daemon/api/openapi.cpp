// GET /openapi.json: OpenAPI 3.1 of all routes, with a path of its own for each hatch that is loaded, so that clients can
// be generated and parameters checked beforehand. Shows what the caller may see, as the catalogue does.
#include "api/openapi.hpp"

#include <boost/json.hpp>
#include <map>

#include "api/api.hpp"
#include "base/json.hpp"
#include "http/problem.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

using access::Action;

json::object reference(std::string_view kind, std::string_view name) {
  return {{"$ref", "#/components/" + std::string(kind) + "/" + std::string(name)}};
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0) list.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return list;
}

// Which problems a route may answer with, by its status.
bool may_answer(Action action, std::string_view method, unsigned status) {
  if (action == Action::health) return status == 503;
  const bool run = action == Action::run;
  switch (status) {
    case 409: return run || action == Action::cancel || action == Action::remove;
    case 413:
    case 415:
    case 424:
    case 429:
    case 507: return run;
    case 422: return run || method == "GET";
    default: return true;
  }
}

// One response for each status that a problem can have, with the codes that it stands for.
json::object problem_responses() {
  std::map<unsigned, std::string> by_status;
  for (const http::Code& code : http::problem_codes()) {
    std::string& text = by_status[code.status];
    text += (text.empty() ? "`" : "; `") + std::string(code.code) + "`: " + std::string(code.title);
  }
  json::object responses;
  for (const auto& [status, text] : by_status) {
    json::object& response = responses["problem-" + std::to_string(status)].emplace_object();
    response["description"] = text;
    response["headers"] = json::object{{"Hatchd-Request-Id", reference("headers", "Hatchd-Request-Id")}};
    response["content"] = json::object{
        {"application/problem+json", json::object{{"schema", reference("schemas", "Problem")}}},
        {"text/plain", json::object{{"schema", json::object{{"type", "string"}}}}},
    };
  }
  return responses;
}

json::object components_of() {
  json::object components = shared_components();
  components["responses"] = problem_responses();
  // The list of codes is closed, so it is an enumeration.
  json::array codes;
  for (const http::Code& code : http::problem_codes()) codes.emplace_back(code.code);
  components["schemas"].get_object()["Problem"].get_object()["properties"].get_object()["code"].get_object()["enum"] =
      std::move(codes);
  return components;
}

json::object answer_of(const RouteDoc& doc, std::string_view description) {
  json::object content;
  if (!doc.answer.empty()) content["application/json"] = json::object{{"schema", reference("schemas", doc.answer)}};
  for (const std::string& type : words(doc.media)) {
    const bool text = type.starts_with("text/") || type.starts_with("application/openmetrics");
    content[type] = text ? json::object{{"schema", json::object{{"type", "string"}}}} : json::object{};
  }
  json::object response{{"description", description}};
  if (!content.empty()) response["content"] = std::move(content);
  return response;
}

json::object responses_of(const RouteDoc& doc, Action action) {
  json::object responses;
  responses["200"] = answer_of(doc, "Done");
  if (action == Action::run) {
    // A dry run answers whether it would work.
    json::object& ran = responses["200"].get_object();
    ran["description"] = "It succeeded; or, with dry_run, whether it would";
    ran["content"].get_object()["application/json"] = json::object{
        {"schema", json::object{{"anyOf", json::array{reference("schemas", "Run"), reference("schemas", "Ready")}}}}};
  }
  if (action == Action::run || action == Action::cancel) responses["202"] = answer_of(doc, "It goes on");
  if (action == Action::run)
    for (const char* status : {"200", "202"})
      responses[status].get_object()["headers"] = json::object{{"Location", reference("headers", "Location")}};
  if (doc.media == "*/*") responses["206"] = answer_of(doc, "A part of it");
  for (const http::Code& code : http::problem_codes())
    if (may_answer(action, doc.method, code.status))
      responses[std::to_string(code.status)] = reference("responses", "problem-" + std::to_string(code.status));
  return responses;
}

// "/v1/runs/{id}" to a parameter for each name in braces.
json::array captures_of(std::string_view pattern) {
  json::array parameters;
  for (std::size_t at = pattern.find('{'); at != std::string_view::npos; at = pattern.find('{', at + 1)) {
    const std::string_view name = pattern.substr(at + 1, pattern.find('}', at) - at - 1);
    parameters.push_back(
        json::object{{"name", name}, {"in", "path"}, {"required", true}, {"schema", json::object{{"type", "string"}}}});
  }
  return parameters;
}

// "post /v1/hatches/{id}" to "post_v1_hatches_id".
std::string operation_id(std::string_view method, std::string_view path) {
  std::string id;
  const auto add = [&](std::string_view text, bool lower) {
    for (const char c : text) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      if (letter)
        id += lower && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      else if (!id.ends_with('_'))
        id += '_';
    }
  };
  add(method, true);
  add(path, false);
  while (id.ends_with('_')) id.pop_back();
  return id;
}

json::object operation(std::string_view path, const RouteEntry& route) {
  const RouteDoc plain{route.method, route.pattern, "other", route.pattern, "Any", "", ""};
  const RouteDoc* known = doc_of(route.method, route.pattern);
  const RouteDoc& doc = known ? *known : plain;
  json::object operation;
  operation["operationId"] = operation_id(route.method, path);
  operation["tags"] = json::array{doc.tag};
  operation["summary"] = doc.summary;
  json::array parameters = captures_of(path);
  for (const std::string& name : words(doc.parameters)) parameters.push_back(reference("parameters", name));
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  operation["responses"] = responses_of(doc, route.action);
  if (route.action == Action::health) operation["security"] = json::array{};  // open to everybody
  return operation;
}

json::object body_of(json::value schema) {
  json::object media{{"schema", std::move(schema)}};
  return {{"content", json::object{{"application/json", media}, {"application/x-www-form-urlencoded", media}}}};
}

// The hatch's parameters and the reserved names, as one object.
json::object invocation_schema(const catalogue::Hatch& hatch) {
  json::object schema = hatch.parameters;
  schema["type"] = "object";
  json::object properties = reserved_properties();
  if (hatch.target == catalogue::Needs::none) {
    properties.erase("target");
    properties.erase("processes");
  }
  json::array formats{"json", "text"};
  for (const std::string& name : hatch.renderings)
    if (name != "json" && name != "text") formats.emplace_back(name);
  properties["format"].get_object()["enum"] = std::move(formats);
  if (const json::object* own = object_of(hatch.parameters, "properties"))
    for (const auto& [name, property] : *own) properties[name] = property;
  if (!hatch.profiles.empty()) {
    json::value& profile = properties["profile"];
    if (!profile.is_object()) profile = json::object{{"type", "string"}};
    profile.get_object()["enum"] = json::value_from(hatch.profiles);
  }
  schema["properties"] = std::move(properties);
  schema["additionalProperties"] = false;
  return schema;
}

std::string schema_name(const catalogue::Hatch& hatch) {
  return "parameters-of-" + hatch.id + (hatch.kind.empty() ? "" : "-" + hatch.kind);
}

// The path of one id; several kinds of it are told apart by their profiles.
void add_hatch(json::object& document, const std::vector<const catalogue::Hatch*>& kinds,
               const std::vector<RouteEntry>& routes) {
  const catalogue::Hatch& first = *kinds.front();
  const std::string path = "/v1/hatches/" + first.id;
  json::object& item = document["paths"].get_object()[path].emplace_object();
  json::object post;
  for (const RouteEntry& route : routes) {  // this path stands before the pattern, so it has all methods of it
    if (route.pattern != "/v1/hatches/{id}") continue;
    if (route.action == Action::run)
      post = operation(path, route);
    else
      item["get"] = operation(path, route);
  }
  post["summary"] = first.title;
  std::string description = first.documentation;
  if (!first.enabled) description += (description.empty() ? "" : "\n\n") + std::string("Off: ") + first.why_not;
  post["description"] = description;
  post["x-effect"] = schema::to_string(first.effect);
  post["x-role"] = access::to_string(first.least_role());
  post["x-enabled"] = first.enabled;
  json::object& schemas = document["components"].get_object()["schemas"].get_object();
  json::array choices;
  for (const catalogue::Hatch* hatch : kinds) {
    schemas[schema_name(*hatch)] = invocation_schema(*hatch);
    choices.push_back(reference("schemas", schema_name(*hatch)));
  }
  json::value choice = choices.size() == 1 ? choices.front() : json::value(json::object{{"anyOf", choices}});
  post["requestBody"] = body_of(std::move(choice));
  item["post"] = std::move(post);
}

}  // namespace

Answer openapi(Api& api, const http::Context& context) {
  json::object document;
  document["openapi"] = "3.1.0";
  document["info"] =
      json::object{{"title", "hatchd"},
                   {"version", api.version},
                   {"description",
                    "Maintenance hatches into running processes. A GET describes, a POST runs; what was run is a run."},
                   {"license", json::object{{"name", "MIT"}, {"identifier", "MIT"}}}};
  document["servers"] = json::array{json::object{{"url", "/"}}};
  // Either a token, or nothing beside what the kernel says about the other end of a Unix socket.
  document["security"] = json::array{json::object{{"token", json::array{}}}, json::object{}};
  document["components"] = components_of();
  json::object& paths = document["paths"].emplace_object();

  for (const RouteEntry& route : api.routes) {
    json::value& item = paths[route.pattern];
    if (!item.is_object()) item.emplace_object();
    json::object made = operation(route.pattern, route);
    if (route.action == Action::run) made["requestBody"] = body_of(reference("schemas", "Any"));
    std::string method(route.method);
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    item.get_object()[method] = std::move(made);
  }
  std::vector<std::string> names = visible(co_await target_names(api), context.caller, "");
  const std::shared_ptr<const catalogue::Catalogue> catalogue = co_await whole_catalogue(api, std::move(names));
  std::map<std::string, std::vector<const catalogue::Hatch*>> by_id;
  for (const catalogue::Hatch& hatch : catalogue->hatches())
    if (access::sees(context.caller, hatch.id, "")) by_id[hatch.id].push_back(&hatch);
  for (const auto& [id, kinds] : by_id) add_hatch(document, kinds, api.routes);
  co_return http::json_response(200, pretty(document) + "\n");
}

}  // namespace hatchd::api
