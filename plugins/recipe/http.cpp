// kind http: one request to the app, and whether what was expected came of it.
#include <boost/json.hpp>
#include <optional>

#include "common/follower.hpp"
#include "common/http.hpp"
#include "common/url.hpp"
#include "recipe/recipe.hpp"

namespace recipe {
namespace {

namespace json = boost::json;

constexpr std::size_t max_shown = 64 * 1024;
constexpr std::chrono::milliseconds spare{500};

std::string joined(const json::object& fields, const Recipe& recipe) {
  std::string out;
  for (const auto& field : fields) {
    if (!out.empty()) out += '&';
    out += common::percent_encoded(field.key()) + '=';
    if (const json::string* text = field.value().if_string()) out += common::percent_encoded(recipe.fill(*text));
  }
  return out;
}

common::HttpRequest request_of(const hatch::Run& run, const Recipe& recipe) {
  const json::object& written = recipe.part("request");
  const auto text = [&](const char* name, const char* fallback) {
    const json::value* value = written.if_contains(name);
    return std::string(value && value->is_string() ? std::string_view(value->get_string()) : fallback);
  };
  common::HttpRequest request;
  request.method = text("method", "POST");
  request.url = recipe.url(text("url", ""));
  request.headers.push_back("Hatchd-Run: " + std::string(run.id()));
  const auto fields = [&](const char* name) {
    const json::value* value = written.if_contains(name);
    return value && value->is_object() ? &value->get_object() : nullptr;
  };
  if (const json::object* query = fields("query"))
    request.url += (request.url.find('?') == request.url.npos ? '?' : '&') + joined(*query, recipe);
  if (const json::object* form = fields("form")) {
    request.body = joined(*form, recipe);
    request.type = "application/x-www-form-urlencoded";
  } else if (const json::object* body = fields("json")) {
    request.body = json::serialize(recipe.filled(json::value(*body)));
    request.type = "application/json";
  }
  if (const json::object* headers = fields("headers"))
    for (const auto& header : *headers)
      if (const json::string* value = header.value().if_string())
        request.headers.push_back(std::string(header.key()) + ": " + std::string(*value));
  return request;
}

// Adds a sentence for each expectation that was not met.
void complain(std::string& wrong, const std::string& sentence) { wrong += (wrong.empty() ? "" : "; ") + sentence; }

void check_json(const json::object& expected, const Recipe& recipe, const common::HttpResponse& response,
                std::string& wrong) {
  boost::system::error_code error;
  const json::value body = json::parse(response.body, error);
  if (error) return complain(wrong, "its body is no JSON");
  for (const auto& member : expected) {
    const json::value wanted = recipe.filled(member.value());
    const json::value* found = body.find_pointer(member.key(), error);
    if (!found)
      complain(wrong, "its body has nothing at " + std::string(member.key()));
    else if (*found != wanted)
      complain(wrong, "its body has " + json::serialize(*found).substr(0, 200) + " at " + std::string(member.key()) +
                          ", not " + json::serialize(wanted));
  }
}

// What `expect` looks for in the log or the body; none: it does not.
std::optional<std::string> wanted_of(const Recipe& recipe, const char* name) {
  const json::value* value = recipe.part("expect").if_contains(name);
  std::optional<std::string> text;
  if (value && value->is_string()) text = recipe.fill(std::string_view(value->get_string()));
  return text;
}

}  // namespace

hatch::Result try_http(hatch::Run& run) {
  const Recipe recipe{run};
  const common::HttpRequest request = request_of(run, recipe);
  std::string sentence = request.method + " " + common::shown_url(request.url) +
                         " would be sent; whether it is answered, only a run tells";
  if (const std::optional<std::string> in_log = wanted_of(recipe, "log")) {
    const common::Follower log{run, *in_log};
    need(log, run);
    sentence += ". What is expected is looked for in " + log.places().front();
  }
  return hatch::Result{sentence + "."};
}

hatch::Result run_http(hatch::Run& run) {
  const Recipe recipe{run};
  const json::object& expect = recipe.part("expect");
  const std::optional<std::string> in_log = wanted_of(recipe, "log");
  const std::optional<std::string> in_body = wanted_of(recipe, "body");
  if (in_log && in_log->empty()) throw hatch::Failure("what to look for in the log is empty");
  const common::HttpRequest request = request_of(run, recipe);
  std::optional<common::Follower> log;
  if (in_log) log = follow(run, *in_log);  // before the request: what it writes comes behind this
  const auto begin = std::chrono::steady_clock::now();
  const common::HttpResponse response =
      common::send(request, std::max(run.remaining() - spare, spare), [&] { return run.cancelled(); });

  hatch::Result result;
  std::string wrong;
  const json::value* status = expect.if_contains("status");
  const long least = status ? status->to_number<long>() : 200, most = status ? least : 299;
  if (response.status < least || response.status > most)
    complain(wrong,
             "it answered " + std::to_string(response.status) + ", not " + (status ? json::serialize(*status) : "2xx"));
  if (in_body && response.body.find(*in_body) == std::string::npos)
    complain(wrong, "its body does not hold \"" + *in_body + "\"");
  if (expect.contains("json") && expect.at("json").is_object())
    check_json(expect.at("json").get_object(), recipe, response, wrong);
  const std::string sent = request.method + " " + common::shown_url(request.url);
  result.step("request", response.ms, true, sent);

  std::string arrival;
  if (log) {
    const std::vector<common::Reported> found = log->look(run, begin, log_patience);
    result.step("log", since(begin) - response.ms, !found.empty(), found.empty() ? "not there" : "");
    add_reported(result, *log, found);
    if (found.empty())
      complain(wrong, not_there(*log, *in_log));
    else
      arrival = ", and " + found.front().where + " shows it after " +
                std::to_string(static_cast<long>(found.front().after_ms)) + " ms";
  }
  result.add("status", response.status).add("ms", hatch::rounded_ms(response.ms));
  if (!response.type.empty()) result.add("type", response.type);
  result.add("body", response.body.substr(0, max_shown));
  if (response.cut || response.body.size() > max_shown) result.add("body_cut", true);
  const std::string said = sent + " answered " + std::to_string(response.status) + " in " +
                           std::to_string(static_cast<long>(response.ms)) + " ms";
  if (wrong.empty()) return result.verdict(said + arrival + ".");
  result.verdict(said + ", but that is not all that was expected: " + wrong + ".");
  throw hatch::Failure("not as expected: " + wrong).with(std::move(result));
}

}  // namespace recipe
