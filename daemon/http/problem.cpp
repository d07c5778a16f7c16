// Every way to be refused, with its status: the table of DESIGN section 4, closed. Clients branch on the code, so a
// code never changes its meaning; a problem of a hatch that did not succeed is 424, never 5xx, which proxies retry.

#include <algorithm>

#include "base/json.hpp"
#include "base/log.hpp"
#include "hatch/json.hpp"
#include "http/message.hpp"
#include "http/problem.hpp"

namespace hatchd::http {
namespace {

struct Entry {
  std::string_view code;
  unsigned status;
  std::string_view title;
  unsigned retry_after = 0;  // seconds, where the problem does not say itself
};

constexpr Entry table[] = {
    {"malformed", 400, "The request is malformed"},
    {"unauthenticated", 401, "Who are you?"},
    {"role-missing", 403, "The role does not suffice"},
    {"hatch-disabled", 403, "The hatch is not enabled"},
    {"cross-site", 403, "The request comes from another site"},
    {"read-only", 403, "Nothing may be changed here"},
    {"route-unknown", 404, "There is nothing here"},
    {"hatch-unknown", 404, "There is no such hatch"},
    {"target-unknown", 404, "There is no such target"},
    {"run-unknown", 404, "There is no such run"},
    {"method-not-allowed", 405, "The method does not fit"},
    {"not-acceptable", 406, "No representation fits"},
    {"target-gone", 409, "The target is not there"},
    {"target-ambiguous", 409, "Several processes match"},
    {"run-ended", 409, "The run has ended"},
    {"too-large", 413, "The body is too large"},
    {"unsupported-media", 415, "The body is of another type"},
    {"range-unsatisfiable", 416, "The range lies outside"},
    {"host-unknown", 421, "The Host is not known"},
    {"params-invalid", 422, "The parameters are not valid"},
    {"target-required", 422, "A target must be named"},
    {"idempotency-mismatch", 422, "The key belongs to another request"},
    {"run-failed", 424, "The hatch did not succeed"},
    {"run-timeout", 424, "The run took too long"},
    {"run-crashed", 424, "The run crashed"},
    {"run-cancelled", 424, "The run was cancelled"},
    {"rights-missing", 424, "hatchd lacks a right on the target"},
    {"cooldown", 429, "The hatch rests", 1},
    {"busy", 429, "Too many runs at once", 1},
    {"rate", 429, "Too many attempts"},
    {"header-too-large", 431, "The header is too large"},
    {"internal", 500, "An error of hatchd itself"},
    {"shutting-down", 503, "hatchd is shutting down", 5},
    {"overloaded", 503, "hatchd is busy", 1},
    {"audit-unwritable", 503, "The audit cannot be written", 5},
    {"no-space", 507, "There is no room for artifacts"},
};

const Entry& entry_of(std::string_view code) {
  const Entry* internal = nullptr;
  for (const Entry& entry : table) {
    if (entry.code == code) return entry;
    if (entry.code == "internal") internal = &entry;
  }
  log::error("a problem has a code that is not in the table", {{"code", hatch::printable(code.substr(0, 64))}});
  return *internal;
}

// One line whatever it holds: three lines are a promise, and a line break in a detail would forge the next one.
void line(std::string& out, std::string_view label, std::string_view text) {
  if (text.empty()) return;
  (out += label) += hatch::printable(text);
  out += '\n';
}

std::string as_text(const Problem& problem, const Entry& entry) {
  // What ran and did not succeed has failed; what was not even begun was refused.
  const bool failed = entry.code.starts_with("run-") && entry.status == 424;
  const std::string verb = failed || entry.status == 500 ? "failed (" : "refused (";
  std::string out;
  line(out, verb + std::string(entry.code) + "): ", problem.detail.empty() ? entry.title : problem.detail);
  std::string missing;
  for (const std::string& item : problem.missing) (missing += missing.empty() ? "" : ", ") += item;
  line(out, "missing: ", missing);
  line(out, "remedy: ", problem.remedy);
  for (const FieldError& error : problem.errors) line(out, "  ", error.pointer + ": " + error.detail);
  for (const std::string& candidate : problem.candidates) line(out, "  ", candidate);
  return out;
}

void add_list(hatch::Object& object, std::string_view name, const std::vector<std::string>& items) {
  if (items.empty()) return;
  hatch::Array list;
  for (const std::string& item : items) list.add(item);
  object.add(name, list);
}

std::string as_json(const Problem& problem, const Entry& entry, const Request& request, std::string_view extra) {
  hatch::Object object;
  object.add("type", "urn:hatchd:problem:" + std::string(entry.code));
  object.add("title", entry.title).add("status", entry.status).add("detail", problem.detail);
  if (!request.id.empty()) object.add("instance", "urn:hatchd:request:" + request.id);
  object.add("code", entry.code);
  add_list(object, "missing", problem.missing);
  if (!problem.remedy.empty()) object.add("remedy", problem.remedy);
  if (!problem.errors.empty()) {
    hatch::Array errors;
    for (const FieldError& error : problem.errors)
      errors.add(hatch::Object().add("pointer", error.pointer).add("detail", error.detail));
    object.add("errors", errors);
  }
  add_list(object, "candidates", problem.candidates);

  const std::string compact = object.json();
  std::string text = pretty_text(compact, 0, "internal").value_or(compact);
  if (extra.empty()) return text;
  // Added as they are: a run's result among them may have many megabytes, and this is the event loop.
  text.erase(text.rfind('}'));
  if (text.back() == '\n') text.pop_back();
  return text.append(",\n  ").append(extra).append("\n}");
}

}  // namespace

std::vector<Code> problem_codes() {
  std::vector<Code> codes;
  for (const Entry& entry : table) codes.push_back({entry.code, entry.status, entry.title});
  return codes;
}

unsigned status_of(std::string_view code) { return entry_of(code).status; }

Response problem_response(const Problem& whole, const Request& request, Format format, std::string_view extra,
                          std::optional<unsigned> retry_after) {
  const Problem problem = masked(whole);
  const Entry& entry = entry_of(problem.code);
  // An unknown code is a bug; its detail is kept, for it was written for people.
  Response response = format == Format::text ? text_response(entry.status, as_text(problem, entry))
                                             : json_response(entry.status, as_json(problem, entry, request, extra));
  response.code = entry.code;
  if (format != Format::text) response.headers.back().second = "application/problem+json";
  if (entry.status == 401) response.header("WWW-Authenticate", "Bearer realm=\"hatchd\"");
  const unsigned seconds = retry_after.value_or(entry.retry_after);
  if (entry.status == 429 || entry.status == 503 || retry_after)
    response.header("Retry-After", std::to_string(std::max(seconds, 1u)));
  return response;
}

}  // namespace hatchd::http
