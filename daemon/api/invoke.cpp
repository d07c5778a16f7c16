// POST /v1/hatches/{id} and POST /{group.verb}: run a hatch. The function invoke() is the way of such a request, in
// order; each step refuses with the problem that DESIGN section 4 names for it.
#include <boost/json.hpp>

#include "api/api.hpp"
#include "api/prefer.hpp"
#include "base/json.hpp"
#include "base/mask.hpp"
#include "catalogue/choose.hpp"
#include "hatch/json.hpp"
#include "http/body.hpp"

namespace hatchd::api {

namespace json = boost::json;

namespace {

constexpr std::size_t max_reason = 500;

Result<Wanted> wanted_by(const http::Context& context, const http::Invocation& invocation,
                         const catalogue::Hatch& hatch) {
  const std::string format = invocation.format.value_or("");
  if (format.empty()) return Wanted{http::format_of(context.request, context.fallback), ""};
  if (format == "json") return Wanted{http::Format::json, ""};
  if (format == "text") return Wanted{http::Format::text, ""};
  if (std::find(hatch.renderings.begin(), hatch.renderings.end(), format) != hatch.renderings.end())
    return Wanted{http::format_of(context.request, context.fallback), format};
  Problem problem{"params-invalid", hatch.id + " has no such rendering"};
  std::string names = "json, text";
  for (const std::string& name : hatch.renderings)
    if (name != "json" && name != "text") names += ", " + name;
  problem.errors.push_back({"/format", "must be one of: " + names});
  return tl::unexpected(std::move(problem));
}

Result<std::string> processes_of(const http::Invocation& invocation) {
  const std::string text = invocation.processes.value_or("all");
  const bool pid = !text.empty() && text.size() <= 10 && text.find_first_not_of("0123456789") == std::string::npos;
  if (text == "all" || text == "main" || pid) return text;
  Problem problem{"params-invalid", "a parameter is not valid: /processes"};
  problem.errors.push_back({"/processes", "must be \"all\", \"main\" or a pid"});
  return tl::unexpected(std::move(problem));
}

// Parameters as the hatch gets them: defaults filled in, every failure listed.
Result<json::object> validated(const catalogue::Hatch& hatch, json::object params, const std::string& profile) {
  const json::object* properties = object_of(hatch.parameters, "properties");
  if (!profile.empty() && properties && properties->contains("profile")) params["profile"] = profile;
  json::value value = std::move(params);
  std::vector<FieldError> errors = schema::validate(hatch.parameters, value);
  if (errors.empty()) return std::move(value.get_object());
  Problem problem{"params-invalid", errors.size() == 1
                                        ? "a parameter is not valid: " + errors[0].pointer + ": " + errors[0].detail
                                        : std::to_string(errors.size()) + " parameters are not valid"};
  problem.errors = std::move(errors);
  problem.remedy = "GET /v1/hatches/" + hatch.id + " describes the parameters";
  return tl::unexpected(std::move(problem));
}

Result<std::string> reason_of(const http::Context& context, const http::Invocation& invocation, schema::Effect effect,
                              const access::Policy& policy) {
  std::string reason = invocation.reason.value_or(std::string(context.request.header("hatchd-reason")));
  if (reason.size() > max_reason) reason.resize(max_reason);
  reason = hatch::printable(reason);
  const auto& required = policy.access.require_reason;
  if (!reason.empty() || std::find(required.begin(), required.end(), schema::to_string(effect)) == required.end())
    return reason;
  Problem problem{"params-invalid",
                  "this hatchd wants a reason for hatches that " + std::string(schema::to_string(effect))};
  problem.errors.push_back({"/reason", "is required"});
  problem.remedy = "add -d reason='why' or the header Hatchd-Reason";
  return tl::unexpected(std::move(problem));
}

json::object identity_of(const json::object& target) {
  json::object identity;
  if (const json::array* processes = array_of(target, "processes"))
    for (const json::value& value : *processes) {
      const json::object* process = value.if_object();
      if (!process || (!identity.empty() && !flag_of(*process, "main"))) continue;
      identity = {{"pid", number_of(*process, "pid")}, {"started", text_of(*process, "started")}};
    }
  return identity;
}

// Is the target there, now? What the finder says counts: gone and ambiguous are known before anything is started. The
// answer is who it is: pid and start of its main process.
boost::asio::awaitable<Result<json::object>> present(Api& api, std::string name) {
  auto listed = co_await api.finder.list(name);
  if (!listed) co_return tl::unexpected(listed.error());
  for (const json::value& value : *listed) {
    const json::object* target = value.if_object();
    if (!target || text_of(*target, "name") != name) continue;
    const std::string state = text_of(*target, "state");
    if (state == "up") co_return identity_of(*target);
    const bool ambiguous = state == "ambiguous";
    Problem problem{ambiguous ? "target-ambiguous" : "target-gone",
                    "target " + name + " is " + (state.empty() ? "gone" : state)};
    if (const json::object* said = object_of(*target, "problem")) {
      Problem theirs = problem_from_json(*said);
      const bool fits =
          theirs.code == "target-gone" || theirs.code == "target-ambiguous" || theirs.code == "rights-missing";
      if (fits) problem = std::move(theirs);
    }
    co_return tl::unexpected(std::move(problem));
  }
  co_return refuse("target-unknown", "there is no target \"" + name + "\"");
}

// `probed`: the hatch itself was asked; else only what is checked for every hatch was.
http::Response preflight_reply(const runs::Run& run, const catalogue::Hatch& hatch, bool probed, http::Format format) {
  const bool ready = !run.error;
  json::object body{{"ready", ready},
                    {"probed", probed},
                    {"hatch", hatch.id},
                    {"target", run.target.empty() ? json::value(nullptr) : json::value(run.target)}};
  body["missing"] = run.error ? json::value_from(run.error->missing) : json::value(json::array{});
  body["remedy"] = run.error && !run.error->remedy.empty() ? json::value(run.error->remedy) : json::value(nullptr);
  if (run.error) {
    body["code"] = run.error->code;
    body["detail"] = run.error->detail;
  }
  if (!run.verdict.empty()) body["verdict"] = run.verdict;
  if (format != http::Format::text) return http::json_response(200, pretty(body) + "\n");
  if (ready) return http::text_response(200, probed ? "ready\n" : "ready, as far as can be told without running it\n");
  std::string text = "not ready: " + run.error->detail + "\n";
  for (const std::string& item : run.error->missing) text += "missing: " + item + "\n";
  if (!run.error->remedy.empty()) text += "remedy: " + run.error->remedy + "\n";
  return http::text_response(200, hatch::printable(text, true));
}

// The caller's Idempotency-Key in its scope, nullopt when there is none. What the run depends on is compared, not how it
// is to be shown.
Result<std::optional<runs::Keys::Key>> key_of(const http::Context& context, const runs::Order& order) {
  std::string key;
  unsigned count = 0;
  for (const auto& [name, value] : context.request.headers)
    if (name == "idempotency-key") key = value, ++count;
  if (count == 0) return std::optional<runs::Keys::Key>();
  const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (count > 1 || key.empty() || key.size() > runs::Keys::max_length || !printable)
    return refuse("malformed", "Idempotency-Key is not one word of 1 to 255 printable ASCII characters",
                  "make a fresh one: -H \"Idempotency-Key: $(uuidgen)\"");
  json::object params = order.params;
  json::object what;
  what["params"] = std::move(params);
  what["processes"] = order.processes;
  what["profile"] = order.profile;
  const std::string caller = order.caller.via + " " + order.caller.name;
  return std::optional(runs::Keys::make(caller, order.hatch->id, order.target, key, what));
}

// As Runner::wait(), but the run is cancelled when its client hangs up.
boost::asio::awaitable<void> wait_for_client(Api& api, const http::Context& context, runs::LivePtr live,
                                             SteadyTime until) {
  using namespace std::chrono_literals;
  const auto gone = context.request.gone;
  while (!live->over && std::chrono::steady_clock::now() < until) {
    if (gone && gone()) co_return api.runner.cancel(live);
    const SteadyTime look = std::min(until, std::chrono::steady_clock::now() + 250ms);
    co_await api.runner.wait(live, look);
  }
}

// Waits for a run as long as its caller wants to, and answers.
Answer attend(Api& api, const http::Context& context, runs::LivePtr live, const catalogue::Hatch& hatch,
              const Wanted& wanted, const Preferences& preferences) {
  const bool cancels = preferences.cancel_on_disconnect;
  if (wanted.format == http::Format::events && wanted.rendering.empty()) {
    http::Response stream = live_events(api, live, 0, cancels);
    if (cancels) stream.header("Preference-Applied", "cancel-on-disconnect");
    co_return stream;
  }
  // Not inside the co_await: g++ 12 works out both sides of a conditional there.
  const SteadyTime until = preferences.wait ? std::chrono::steady_clock::now() + *preferences.wait : SteadyTime::max();
  if (cancels)
    co_await wait_for_client(api, context, live, until);
  else
    co_await api.runner.wait(live, until);
  http::Response response;
  if (live->over) {
    response = co_await reply(api, context, live->run, wanted, 200, false);
  } else if (wanted.format == http::Format::text) {
    response = http::text_response(202, hatch.id + " is under way: " + live->run.id + "\n");
    response.header("Location", "/v1/runs/" + live->run.id);
  } else {
    const Wanted json_now;
    response = co_await reply(api, context, live->run, json_now, 202, false);
  }
  if (!preferences.applied.empty()) response.header("Preference-Applied", preferences.applied);
  co_return response;
}

// The answer to a retry: the first run, as it is now.
Answer again(Api& api, const http::Context& context, std::string id, const catalogue::Hatch& hatch,
             const Wanted& wanted, const Preferences& preferences) {
  http::Response response;
  if (const runs::LivePtr live = api.runner.live(id); live && !live->over) {
    response = co_await attend(api, context, live, hatch, wanted, preferences);
  } else {
    const auto run = co_await api.runner.load(id);
    if (!run) {
      Problem gone{"run-ended", "the first run of this Idempotency-Key, " + id + ", is no longer kept"};
      gone.remedy = "use a new key to run " + hatch.id + " again";
      co_return refused(gone, context);
    }
    if (wanted.format == http::Format::events && wanted.rendering.empty())
      response = co_await events_of(api, *run, 0);
    else
      response = co_await reply(api, context, *run, wanted, 200, false);
  }
  response.header("Idempotent-Replayed", "true");
  co_return response;
}

}  // namespace

Answer invoke(Api& api, const http::Context& context) {
  const std::string id = hatch_id_of(context);
  const auto policy = api.policy();
  auto catalogue = api.catalogue;

  // The hatch, before its parameters can be read: they are converted by its schema. With several kinds the first serves
  // until the profile is known, since kinds of one id share their reserved names.
  if (!access::sees(context.caller, id, ""))
    co_return refused(Problem{"hatch-unknown", "there is no hatch \"" + id + "\""}, context);
  if (catalogue->may_be_member(id))
    catalogue = co_await whole_catalogue(api, visible(co_await target_names(api), context.caller, id));
  const auto profile_in_query = context.request.query_value("profile");
  auto found = catalogue->find(id, profile_in_query, context.request.query_value("target"));
  if (!found && found.error().code == "hatch-unknown") co_return refused(found.error(), context);
  const json::object no_schema;
  auto invocation = http::read_invocation(context.request, found ? (*found)->parameters : no_schema);
  if (!invocation) co_return refused(invocation.error(), context);
  if (invocation->profile && invocation->profile != profile_in_query) {
    found = catalogue->find(id, *invocation->profile);
    if (found) invocation = http::read_invocation(context.request, (*found)->parameters);
    if (!invocation) co_return refused(invocation.error(), context);
  }
  if (!found) co_return refused(found.error(), context);
  // Members of one id may differ from target to target: the one of the named target counts, and its schema.
  if (!(*found)->family.empty() && invocation->target && !(*found)->applies_to(*invocation->target)) {
    found = catalogue->find(id, {}, *invocation->target);
    if (found) invocation = http::read_invocation(context.request, (*found)->parameters);
    if (!invocation) co_return refused(invocation.error(), context);
    if (!found) co_return refused(found.error(), context);
  }
  const catalogue::Hatch& hatch = **found;

  // Whoever may not run it at all learns that first, and nothing about its targets.
  access::Ask ask{access::Action::run, hatch.id, hatch.effect, hatch.role, ""};
  if (auto allowed = access::authorize(context.caller, ask, *policy); !allowed)
    co_return refused(allowed.error(), context);
  if (!hatch.enabled) {
    Problem off{"hatch-disabled", hatch.id + " is not enabled: " + hatch.why_not};
    off.remedy = hatch.remedy;
    co_return refused(off, context);
  }

  runs::Order order;
  order.hatch = std::shared_ptr<const catalogue::Hatch>(catalogue, &hatch);
  order.caller = context.caller;
  order.origin = audit::origin_of(context.request);

  // The form of the answer, the target, the profile, the parameters.
  const auto wanted = wanted_by(context, *invocation, hatch);
  if (!wanted) co_return refused(wanted.error(), context);
  order.format =
      wanted->rendering.empty() ? (wanted->format == http::Format::text ? "text" : "json") : wanted->rendering;
  const std::vector<std::string> names = visible(co_await target_names(api), context.caller, hatch.id);
  const std::string command = catalogue::curl_door(door_of(api, context)) + "/" + hatch.id;
  auto target = catalogue::choose_target(hatch, invocation->target, names, command);
  if (!target) co_return refused(target.error(), context);
  order.target = std::move(*target);
  auto processes = processes_of(*invocation);
  if (!processes) co_return refused(processes.error(), context);
  order.processes = std::move(*processes);
  if (!hatch.profiles.empty() || invocation->profile) {
    auto profile = catalogue::choose_profile(hatch, invocation->profile);
    if (!profile) co_return refused(profile.error(), context);
    order.profile = std::move(*profile);
  }
  auto params = validated(hatch, std::move(invocation->params), order.profile);
  if (!params) co_return refused(params.error(), context);
  order.params = std::move(*params);

  // A target to compare with is one that the caller could run it on.
  if (const std::string other = text_of(order.params, "diff_target");
      !other.empty() && std::find(names.begin(), names.end(), other) == names.end()) {
    Problem unknown{"target-unknown", "there is no target of that name to compare with"};
    unknown.candidates = names;
    co_return refused(unknown, context);
  }

  // What they raise counts, before anything happens.
  order.effect = schema::effect_of(hatch.parameters, order.params, hatch.effect);
  order.role = std::max(hatch.role, access::parse_role(schema::role_of(hatch.parameters, order.params)));
  ask = {access::Action::run, hatch.id, order.effect, order.role, order.target};
  if (auto allowed = access::authorize(context.caller, ask, *policy); !allowed)
    co_return refused(allowed.error(), context);
  auto reason = reason_of(context, *invocation, order.effect, *policy);
  if (!reason) co_return refused(reason.error(), context);
  order.reason = mask::text(*reason);
  const json::value masked = mask::value(schema::mask(hatch.parameters, order.params));
  if (masked.is_object()) order.masked = masked.get_object();

  auto key = key_of(context, order);
  if (!key) co_return refused(key.error(), context);
  if (!invocation->dry_run) order.key = std::move(*key);
  const Preferences preferences = preferences_of(context.request, invocation->wait);

  // A retry: the run is there already, whatever has become of its target since.
  if (order.key) {
    const auto first = api.runner.keys().first(*order.key, std::chrono::steady_clock::now());
    if (!first) co_return refused(first.error(), context);
    if (*first) co_return co_await again(api, context, **first, hatch, *wanted, preferences);
  }

  // The target as it is now.
  if (!order.target.empty()) {
    auto there = co_await present(api, order.target);
    if (there) order.target_identity = std::move(*there);
    if (!there) {
      if (!invocation->dry_run) co_return refused(there.error(), context);
      runs::Run none;
      none.target = order.target;
      none.error = there.error();
      co_return preflight_reply(none, hatch, false, wanted->format);
    }
  }
  order.preflight = invocation->dry_run;
  if (order.preflight && !hatch.preflight) {  // nothing more to ask: all that is checked for every hatch was checked
    runs::Run none;
    none.target = order.target;
    co_return preflight_reply(none, hatch, false, wanted->format);
  }

  // While the target was looked at, another with the same key may have begun.
  if (order.key) {
    const auto first = api.runner.keys().first(*order.key, std::chrono::steady_clock::now());
    if (!first) co_return refused(first.error(), context);
    if (*first) co_return co_await again(api, context, **first, hatch, *wanted, preferences);
  }

  // From here on there is a run.
  auto started = api.runner.start(std::move(order));
  if (!started) {
    Problem problem = started.error().problem;
    co_return http::problem_response(problem, context.request, http::format_of(context.request, context.fallback), {},
                                     started.error().retry_after);
  }
  const runs::LivePtr live = *started;
  if (live->preflight) {
    co_await api.runner.wait(live);
    co_return preflight_reply(live->run, hatch, true, wanted->format);
  }
  co_return co_await attend(api, context, live, hatch, *wanted, preferences);
}

}  // namespace hatchd::api
