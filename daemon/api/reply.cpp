// A run as an answer: JSON, its text, another rendering, or the problem with the run in it.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>

#include "api/api.hpp"
#include "base/json.hpp"
#include "hatch/json.hpp"

namespace hatchd::api {

namespace {

// From here on, laying out a result takes long enough to be felt by other clients.
constexpr std::size_t large = 64 * 1024;
// Of results that wait for it, in memory. The first is let through whatever its size. How many runs can end at once is
// limited elsewhere, and so are those that wait for the answer to their call.
constexpr std::size_t max_waiting = 128 * 1024 * 1024;

std::string summary(const runs::Run& run) {
  std::string text =
      run.hatch + (run.target.empty() ? "" : " on " + run.target) + ": " + std::string(to_string(run.state));
  if (!run.verdict.empty()) text += "\n" + run.verdict;
  return hatch::printable(text, true) + "\n";
}

Result<std::string> laid_out(const runs::Run& run, const std::string& result, unsigned indent) {
  auto text = runs::to_text(run, result, indent);
  if (!text) return refuse("internal", "result.json cannot be read: " + text.error().detail);
  return text;
}

// A result that cannot be read is a problem of its own: null would say that there was none.
// What only reads, and so may well come again, is refused where many large ones wait.
boost::asio::awaitable<Result<std::string>> as_json(Api& api, const runs::Run& run, unsigned indent, bool only_reads) {
  std::string result;
  if (run.has_result) {
    auto text = co_await api.runner.read(run.id, "result.json");
    if (!text) co_return text;
    result = std::move(*text);
  }
  if (result.size() < large) co_return laid_out(run, result, indent);
  const std::size_t most = only_reads ? std::max(max_waiting, result.size()) : SIZE_MAX;
  http::Share share;
  if (!share.grow(api.laying_out, {most, most}, "", result.size()))
    co_return refuse("overloaded", "too many large results are being laid out as JSON",
                     "try again in a moment, or ask for Accept: text/plain");
  auto work = [run, result = std::move(result), indent] { return laid_out(run, result, indent); };
  co_return co_await api.layouts.run(std::move(work));
}

// A rendering, or "" when there is none.
boost::asio::awaitable<Result<std::string>> rendering_of(Api& api, const runs::Run& run, std::string name) {
  if (std::find(run.renderings.begin(), run.renderings.end(), name) == run.renderings.end()) co_return std::string();
  auto text = co_await api.runner.read(run.id, runs::rendering_file(name));
  if (text && !text->empty() && text->back() != '\n') *text += '\n';
  co_return text;
}

}  // namespace

Answer reply(Api& api, const http::Context& context, const runs::Run& run, const Wanted& wanted, unsigned status,
             bool described) {
  const bool failed = run.error && !described;
  const bool text = wanted.format == http::Format::text;
  http::Response response;
  if (!wanted.rendering.empty() && !run.error) {
    auto body = co_await rendering_of(api, run, wanted.rendering);
    if (!body) co_return refused(body.error(), context);
    if (!body->empty()) {
      response = http::text_response(status, std::move(*body));
    } else {
      std::string names = "json";
      for (const std::string& name : run.renderings) names += ", " + name;
      Problem problem{"params-invalid", "this run has no rendering \"" + wanted.rendering + "\""};
      problem.errors.push_back({"/format", "the run made: " + names});
      response = http::problem_response(problem, context.request, wanted.format);
    }
  } else if (text || !wanted.rendering.empty()) {
    auto body = co_await rendering_of(api, run, "text");
    if (!body) co_return refused(body.error(), context);
    if (run.error) {
      response = http::problem_response(*run.error, context.request, http::Format::text);
      if (!body->empty()) response.body += "\n" + *body;  // as far as it came
      if (!failed) response = http::text_response(status, std::move(response.body));
    } else {
      response = http::text_response(status, body->empty() ? summary(run) : std::move(*body));
    }
  } else if (failed) {
    const auto whole = co_await as_json(api, run, 1, described);
    if (!whole) co_return refused(whole.error(), context);
    response = http::problem_response(*run.error, context.request, http::Format::json, "\"run\": " + *whole);
  } else {
    auto whole = co_await as_json(api, run, 0, described);
    if (!whole) co_return refused(whole.error(), context);
    response = http::json_response(status, std::move(*whole) + "\n");
  }
  if (!described) response.header("Location", "/v1/runs/" + run.id);
  co_return response;
}

}  // namespace hatchd::api
