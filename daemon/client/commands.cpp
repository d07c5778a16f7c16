#include "client/commands.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstdio>

#include "base/json.hpp"
#include "client/follow.hpp"
#include "client/params.hpp"
#include "client/show.hpp"
#include "client/speech.hpp"
#include "client/transfer.hpp"
#include "hatch/json.hpp"
#include "schema/schema.hpp"

namespace hatchd::client {
namespace {

// A hatch's own timeout ends a run long before; this only bounds the wait for a daemon that has lost its mind.
constexpr std::chrono::hours longest_run{1};

std::string with_query(const std::string& path, const Fields& query) {
  return query.empty() ? path : path + "?" + form(query);
}

Fields target_of(const Options& options) {
  return options.target.empty() ? Fields{} : Fields{{"target", options.target}};
}

// One call, its body to stdout as it comes.
Result<Answer> stream(const Client& client, Call call) {
  call.json = client.options.json;
  Filter filter{client.options.json && !client.screen.terminal};
  char last = '\n';
  Result<Answer> answer = exchange(client.endpoint, call, [&](std::string_view piece) {
    if (!piece.empty()) last = piece.back();
    return print(filter.feed(piece));
  });
  print(filter.finish());
  if (last != '\n') print("\n");
  return answer;
}

// The effect that the hatch has with these parameters, as the server will judge it.
schema::Effect effect_of(const boost::json::object& hatch, const Fields& params) {
  schema::Effect effect = schema::Effect::disrupt;  // what cannot be read is taken for the worst
  schema::parse_effect(text_of(hatch, "effect"), effect);
  const boost::json::object* schema = object_of(hatch, "parameters");
  if (!schema) return effect;
  boost::json::object values;
  for (const auto& [name, text] : params)
    if (Result<boost::json::value> value = schema::convert(*schema, name, text)) values[name] = std::move(*value);
  return schema::effect_of(*schema, values, effect);
}

// A disrupt hatch is asked about first. `succeeded` means go on; else the exit code.
int ask_about(const Client& client, const std::string& id, const Fields& params) {
  const Result<Answer> answer =
      exchange(client.endpoint, {"GET", with_query("/v1/hatches/" + escape(id), target_of(client.options)), {}, true});
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) {
    if (client.options.json) return refused(client, *answer);
    return tell(client, {"GET", with_query("/v1/hatches/" + escape(id), target_of(client.options)), {}});
  }
  const Result<boost::json::value> hatch = parse_json(answer->body);
  if (!hatch || !hatch->is_object())
    return report({"connection-broken", client.endpoint.name() + " does not answer like hatchd"}, client.options,
                  client.screen);
  const boost::json::object& described = hatch->get_object();
  if (effect_of(described, params) != schema::Effect::disrupt) return succeeded;
  // Nobody is asked for leave to do what is not done anyway.
  if (!flag_of(described, "enabled", true)) {
    report({"hatch-disabled", id + " is off: " + text_of(described, "why_not"), {}, text_of(described, "remedy")},
           client.options, client.screen);
    return not_allowed;
  }

  const std::string on = client.options.target.empty() ? "its target" : client.options.target;
  if (!client.screen.can_ask)
    return report({"usage", id + " is a disrupt hatch, and there is no terminal to ask on", {}, "repeat it with --yes"},
                  client.options, client.screen);
  complain(hatch::printable(id + " may slow, stop or lay open " + on + ". Run it? [y/N] "));
  const int first = std::getchar();
  for (int c = first; c != '\n' && c != EOF;) c = std::getchar();
  if (first == 'y' || first == 'Y') return succeeded;
  complain("not run\n");
  return usage;
}

std::string sentence_of(const boost::json::object& dry, const std::string& id) {
  const bool ready = flag_of(dry, "ready"), probed = flag_of(dry, "probed", true);
  std::string text =
      ready
          ? "ready: " + id + (probed ? " would run\n" : " has nothing in its way that can be told without running it\n")
          : "not ready: " + id + ": " + text_of(dry, "detail") + "\n";
  std::string missing;
  for (const std::string& entry : texts_of(dry, "missing")) missing += (missing.empty() ? "" : ", ") + entry;
  if (!missing.empty()) text += "missing: " + missing + "\n";
  if (const std::string remedy = text_of(dry, "remedy"); !remedy.empty())
    text += "remedy: " + in_commands(remedy) + "\n";
  return hatch::printable(text, true);
}

// The exit code says whether it is ready, so the answer is taken as JSON in any case.
int dry_run(const Client& client, const std::string& id, const Call& call) {
  const Result<Answer> answer = exchange(client.endpoint, {call.method, call.path, call.body, true});
  if (!answer) return report(answer.error(), client.options, client.screen);
  const Result<boost::json::value> body = parse_json(answer->body);
  const bool object = body && body->is_object();
  if (answer->status / 100 == 2 && object) {
    if (client.options.json) {
      print(shown(answer->body, !client.screen.terminal));
    } else {
      print(sentence_of(body->get_object(), id));
    }
    if (flag_of(body->get_object(), "ready")) return succeeded;
    return text_of(body->get_object(), "code") == "rights-missing" ? not_allowed : failed;  // as the run itself
  }
  if (client.options.json || !object) return refused(client, *answer);
  report(problem_from_json(body->get_object()), client.options, client.screen);
  return exit_of(answer->status);
}

// The server answers when the run has ended, or after the time that `wait` says.
int run_and_wait(const Client& client, const Call& call) {
  const Result<Answer> answer = stream(client, call);
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) return refused(client, *answer);
  if (answer->status == 202 && !client.options.json && !answer->location.empty())
    print(hatch::printable("it goes on: hatchctl follow " + answer->location.substr(answer->location.rfind('/') + 1)) +
          "\n");
  return succeeded;
}

}  // namespace

int exit_of(long status) {
  if (status >= 200 && status < 300) return succeeded;
  if (status == 401 || status == 403) return not_allowed;
  // What another try of the same command may change: the hatch failed (424), the target is gone or ambiguous (409), the
  // daemon is busy (429), full or broken (5xx).
  if (status == 424 || status == 409 || status == 429 || status >= 500) return failed;
  return usage;
}

int exit_of(const Answer& answer) {
  // hatchd lacks a right on the target: nobody may do it, as `hatchd exec` says too.
  if (answer.status != 424) return exit_of(answer.status);
  const Result<boost::json::value> body = parse_json(answer.body);
  const std::string code = body && body->is_object() ? text_of(body->get_object(), "code") : std::string();
  return code == "rights-missing" || answer.body.starts_with("refused (rights-missing)") ? not_allowed : failed;
}

int refused(const Client& client, const Answer& answer) {
  if (client.options.json) {
    print(shown(answer.body, !client.screen.terminal));
    return exit_of(answer);
  }
  const std::string text =
      shown(answer.body.empty() ? "refused: the answer was HTTP status " + std::to_string(answer.status) : answer.body,
            false);
  complain_of(text, client.screen);
  return exit_of(answer);
}

int tell(const Client& client, Call call) {
  const Result<Answer> answer = stream(client, std::move(call));
  if (!answer) return report(answer.error(), client.options, client.screen);
  return answer->status / 100 == 2 ? succeeded : refused(client, *answer);
}

int report(const Problem& problem, const Options& options, const Screen& screen) {
  if (options.json) {
    print(boost::json::serialize(to_json(problem)) + "\n");
  } else {
    complain_of(lines_of(problem), screen);
  }
  return problem.code == "usage" ? usage : problem.code == "cannot-connect" ? cannot_connect : failed;
}

int hatches(const Client& client) {
  return tell(client, {"GET", with_query("/v1/hatches", target_of(client.options)), {}});
}

int describe(const Client& client, const std::string& id) {
  const Call call{"GET", with_query("/v1/hatches/" + escape(id), target_of(client.options)), {}};
  if (client.options.json) return tell(client, call);
  const Result<Answer> answer = exchange(client.endpoint, call);
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) return refused(client, *answer);
  print(with_commands(shown(answer->body, false)));
  return succeeded;
}

int run(const Client& client, const std::string& id, const std::vector<std::string>& params) {
  Result<Fields> fields = parse_params(params);
  if (!fields) return report(fields.error(), client.options, client.screen);
  const Fields given = *fields;
  if (!client.options.target.empty()) fields->emplace_back("target", client.options.target);
  if (!client.options.reason.empty()) fields->emplace_back("reason", client.options.reason);
  if (client.options.dry_run) fields->emplace_back("dry_run", "true");
  const bool waits = std::any_of(given.begin(), given.end(), [](const auto& field) { return field.first == "wait"; });
  Call call{"POST", "/v1/hatches/" + escape(id), form(*fields), client.options.json, longest_run};
  if (client.options.dry_run) return dry_run(client, id, call);
  if (!client.options.yes)
    if (const int code = ask_about(client, id, given); code != succeeded) return code;
  if (waits) return run_and_wait(client, call);

  // Started, and then followed: so its id is known while it runs, for Ctrl-C and for when the connection breaks.
  const Interrupts interrupts;
  call.headers.emplace_back("Prefer", "respond-async");
  call.limit = std::chrono::seconds(60);
  call.go_on = [&] {
    if (interrupts.presses() > 1) interrupts.leave();
    return true;
  };
  std::string body;
  const Result<Answer> answer = exchange(client.endpoint, call, [&](std::string_view piece) {
    body += piece;
    return body.size() <= max_kept;
  });
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) return refused(client, *answer);
  if (answer->location.empty()) {  // nothing was started: dry_run=true was among the parameters
    print(shown(body, client.options.json && !client.screen.terminal));
    return succeeded;
  }
  const std::string run = answer->location.substr(answer->location.rfind('/') + 1);
  const auto end = attend(client, run, Tell::progress, interrupts, false);
  if (!end) return end.error();
  std::string format;
  for (const auto& [name, value] : given)
    if (name == "format") format = value;
  return conclude(client, run, *end, format);
}

int targets(const Client& client, const std::string& name) {
  const std::string& which = name.empty() ? client.options.target : name;
  return tell(client, {"GET", which.empty() ? "/v1/targets" : "/v1/targets/" + escape(which), {}});
}

int runs(const Client& client, const RunFilter& filter) {
  Fields query = target_of(client.options);
  if (!filter.hatch.empty()) query.emplace_back("hatch", filter.hatch);
  if (!filter.state.empty()) query.emplace_back("state", filter.state);
  if (!filter.after.empty()) query.emplace_back("after", filter.after);
  if (filter.limit) query.emplace_back("limit", std::to_string(filter.limit));
  return tell(client, {"GET", with_query("/v1/runs", query), {}});
}

int cancel(const Client& client, const std::string& run) {
  const Call call{"DELETE", "/v1/runs/" + escape(run), {}};
  if (client.options.json) return tell(client, call);
  const Result<Answer> answer = exchange(client.endpoint, call, [](std::string_view) { return true; });
  if (!answer) return report(answer.error(), client.options, client.screen);
  if (answer->status / 100 != 2) return refused(client, *answer);
  const Result<boost::json::object> record = record_of(client, run);
  if (!record) return report(record.error(), client.options, client.screen);
  const std::string state = text_of(*record, "state");
  const bool goes_on = state == "queued" || state == "running";
  const std::string line = goes_on                ? "asked to stop; it goes on for now: hatchctl follow " + run
                           : state == "cancelled" ? "cancelled: " + place_of(*record)
                                                  : "it had ended before: " + state;
  print(shown(line, false));
  return succeeded;
}

int console(const Client& client, const std::string& id) {
  const Result<Answer> answer = exchange(client.endpoint, {"GET", "/v1/hatches/" + escape(id), {}, true});
  if (!answer) return report(answer.error(), client.options, client.screen);
  const Result<boost::json::value> hatch = parse_json(answer->body);
  if (!hatch || !hatch->is_object())
    return report({"connection-broken", client.endpoint.name() + " does not answer like hatchd"}, client.options,
                  client.screen);
  if (answer->status / 100 != 2) {
    report(problem_from_json(hatch->get_object()), client.options, client.screen);
    return exit_of(*answer);
  }
  if (!flag_of(hatch->get_object(), "interactive"))
    return report({"usage", id + " is not interactive, so there is no console to open", {}, "hatchctl run " + id},
                  client.options, client.screen);
  return report({"usage", "this version of hatchctl opens no consoles yet, so " + id + " cannot be reached by it"},
                client.options, client.screen);
}

int audit(const Client& client, const std::map<std::string, std::string>& filter) {
  Fields query = target_of(client.options);
  for (const auto& [name, value] : filter)
    if (!value.empty()) query.emplace_back(name, value);
  return tell(client, {"GET", with_query("/v1/audit", query), {}});
}

int health(const Client& client) {
  const int ready = tell(client, {"GET", "/readyz", {}});
  if (client.options.json || ready == cannot_connect) return ready;
  // Told to admins: that the configuration in the files is not the one that counts.
  const Result<Answer> index = exchange(client.endpoint, {"GET", "/", {}, true});
  if (!index) return ready;
  const Result<boost::json::value> links = parse_json(index->body);
  const boost::json::object* reload = links && links->is_object() ? object_of(links->get_object(), "reload") : nullptr;
  if (reload && text_of(*reload, "outcome") == "failed")
    print(
        shown("the configuration was not taken over at " + text_of(*reload, "time") + ": " + text_of(*reload, "detail"),
              false));
  return ready;
}

}  // namespace hatchd::client
