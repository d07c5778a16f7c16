// kind http: one request to the app, and whether what was expected came of it.
#include <curl/curl.h>

#include <boost/json.hpp>
#include <memory>

#include "recipe/log.hpp"
#include "recipe/recipe.hpp"

namespace recipe {
namespace {

namespace json = boost::json;

constexpr std::size_t max_body = std::size_t{1} << 20, max_shown = 64 * 1024;
constexpr std::chrono::milliseconds log_patience{10'000}, spare{500};

struct Response {
  long status = 0;
  std::string type, body;
  bool cut = false;
  double ms = 0;
};

std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* into) {
  auto& response = *static_cast<Response*>(into);
  const std::size_t room = max_body - response.body.size();
  response.body.append(bytes, std::min(size * count, room));
  response.cut = response.cut || size * count > room;
  return size * count;  // the rest is read and forgotten: the app is not to see a broken connection
}

int watch(void* run, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const hatch::Run*>(run)->cancelled() ? 1 : 0;
}

std::string joined(const json::object& fields, const Recipe& recipe) {
  std::string out;
  for (const auto& field : fields) {
    if (!out.empty()) out += '&';
    out += percent_encoded(field.key()) + '=';
    if (const json::string* text = field.value().if_string()) out += percent_encoded(recipe.fill(*text));
  }
  return out;
}

struct Request {
  std::string method, url, body, type;
  std::vector<std::string> headers;
};

Request request_of(const Recipe& recipe) {
  const json::object& written = recipe.part("request");
  const auto text = [&](const char* name, const char* fallback) {
    const json::value* value = written.if_contains(name);
    return std::string(value && value->is_string() ? std::string_view(value->get_string()) : fallback);
  };
  Request request{text("method", "POST"), recipe.url(text("url", "")), {}, {}, {}};
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

// Throws hatch::Failure when there was no answer.
Response send(hatch::Run& run, const Request& request) {
  struct Freed {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  const std::unique_ptr<CURL, Freed> curl{curl_easy_init()};
  if (!curl) throw std::runtime_error("libcurl could not be started");
  curl_slist* lines = nullptr;
  const auto add = [&](const std::string& line) { lines = curl_slist_append(lines, line.c_str()); };
  add("Expect:");  // no question before the body: it is small
  if (!request.type.empty()) add("Content-Type: " + request.type);
  add("Hatchd-Run: " + std::string(run.id()));
  for (const std::string& header : request.headers) add(header);
  const std::unique_ptr<curl_slist, Freed> headers{lines};

  Response response;
  char problem[CURL_ERROR_SIZE] = {};
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);  // a redirection is an answer, and leads where nobody configured
  curl_easy_setopt(c, CURLOPT_PROXY, "");           // whatever the environment says
  curl_easy_setopt(c, CURLOPT_USERAGENT, "hatchd");
  curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (request.method == "HEAD") curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
  if (!request.type.empty() || request.method == "POST") {
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, request.body.c_str());
  }
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, problem);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max(run.remaining() - spare, spare).count()));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &response);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &run);
  const CURLcode done = curl_easy_perform(c);
  if (done == CURLE_ABORTED_BY_CALLBACK) throw hatch::Cancelled{};
  if (done != CURLE_OK)
    throw hatch::Failure(request.method + " " + request.url + ": " + (*problem ? problem : curl_easy_strerror(done)));
  curl_off_t total_us = 0;
  const char* type = nullptr;
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &response.status);
  curl_easy_getinfo(c, CURLINFO_TOTAL_TIME_T, &total_us);
  curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
  response.ms = static_cast<double>(total_us) / 1000.0;
  response.type = type ? type : "";
  return response;
}

// Adds a sentence for each expectation that was not met.
void complain(std::string& wrong, const std::string& sentence) { wrong += (wrong.empty() ? "" : "; ") + sentence; }

void check_json(const json::object& expected, const Recipe& recipe, const Response& response, std::string& wrong) {
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

}  // namespace

hatch::Result run_http(hatch::Run& run) {
  const Recipe recipe{run};
  const json::object& expect = recipe.part("expect");
  const auto expected = [&](const char* name) {
    const json::value* value = expect.if_contains(name);
    std::optional<std::string> text;
    if (value && value->is_string()) text = recipe.fill(std::string_view(value->get_string()));
    return text;
  };
  const std::optional<std::string> in_log = expected("log");
  const std::optional<std::string> in_body = expected("body");
  if (in_log && in_log->empty()) throw hatch::Failure("what to look for in the log is empty");
  std::optional<Log> log;
  if (in_log) log.emplace(run);  // before the request: what it writes comes behind this

  const Request request = request_of(recipe);
  const auto begin = std::chrono::steady_clock::now();
  const Response response = send(run, request);

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
  result.step("request", response.ms, true, request.method + " " + request.url);

  hatch::Array reported;
  std::string arrival;
  if (log) {
    const auto line = log->wait_for(run, *in_log, std::min(log_patience, std::max(run.remaining() - spare, spare)));
    const double after = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    result.step("log", after - response.ms, line.has_value(), line ? "" : "not there");
    if (line) {
      reported.add(hatch::Object{}.add("where", "log").add("after_ms", hatch::rounded_ms(after)).add("text", *line));
      arrival = ", and the log shows it after " + std::to_string(static_cast<long>(after)) + " ms";
    } else {
      complain(wrong, "nothing with \"" + *in_log + "\" came into the target's log within " +
                          std::to_string(static_cast<long>(after)) + " ms");
    }
  }
  result.add("status", response.status).add("ms", hatch::rounded_ms(response.ms));
  if (!response.type.empty()) result.add("type", response.type);
  result.add("body", response.body.substr(0, max_shown));
  if (response.cut || response.body.size() > max_shown) result.add("body_cut", true);
  if (log) result.add("reported", reported);
  const std::string said = request.method + " " + request.url + " answered " + std::to_string(response.status) +
                           " in " + std::to_string(static_cast<long>(response.ms)) + " ms";
  if (wrong.empty()) return result.verdict(said + arrival + ".");
  result.verdict(said + ", but that is not all that was expected: " + wrong + ".");
  throw hatch::Failure("not as expected: " + wrong).with(std::move(result));
}

}  // namespace recipe
