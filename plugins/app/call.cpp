// Running a member: find, drop the rights, ask what there is now, call, and look whether what it promised arrived.
#include <boost/json.hpp>

#include "app/exchange.hpp"
#include "app/hatches.hpp"
#include "app/members.hpp"
#include "common/follower.hpp"

namespace app {

namespace json = boost::json;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t max_answer = 8 * 1024 * 1024;
constexpr auto slack = 2s;           // beyond the hatch's own time limit, which the app keeps
constexpr auto default_limit = 30s;  // of a hatch that says nothing
constexpr auto report_limit = 5s;    // how long an error may take to be reported

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

// What one process made of the call.
struct Outcome {
  int pid = 0;
  bool ok = false;
  json::object entry;  // as it stands in workers[]
  json::value result;
  std::string detail;  // why it did not succeed
};

Outcome outcome_of(const Process& process, const Exchange& exchange) {
  Outcome outcome;
  outcome.pid = process.door.process.pid;
  json::object& entry = outcome.entry;
  entry = {{"pid", outcome.pid}, {"ok", false}, {"ms", hatch::rounded_ms(exchange.ms)}};
  Response response;
  if (!exchange.why.empty()) {
    outcome.detail = exchange.why + "; whether the hatch goes on cannot be known from outside";
  } else if (!parse_response(exchange.answer, response)) {
    outcome.detail = "its answer is not HTTP/1.1";
  } else {
    boost::system::error_code error;
    const json::value body = json::parse(response.body, error);
    const json::object* object = error ? nullptr : body.if_object();
    if (!object) {
      outcome.detail = "it answered " + std::to_string(response.status) + " with what is no JSON object";
    } else {
      outcome.ok = response.status == 200;
      entry["ok"] = outcome.ok;
      for (const char* name : {"output", "output_truncated", "lossy", "traceback", "errors"})
        if (const json::value* value = object->if_contains(name)) entry[name] = *value;
      if (outcome.ok) {
        if (const json::value* value = object->if_contains("result")) outcome.result = *value;
        entry["result"] = outcome.result;
      } else {
        entry["code"] = text_of(*object, "code");
        outcome.detail = text_of(*object, "detail");
        if (outcome.detail.empty()) outcome.detail = "it answered " + std::to_string(response.status);
      }
    }
  }
  if (!outcome.ok) entry["detail"] = outcome.detail;
  return outcome;
}

std::string text_of(const std::vector<Outcome>& outcomes) {
  std::string text;
  for (const Outcome& outcome : outcomes) {
    text +=
        "\nprocess " + std::to_string(outcome.pid) + (outcome.ok ? "" : ": " + hatch::printable(outcome.detail)) + '\n';
    for (const char* name : {"output", "traceback"})
      if (std::string part = text_of(outcome.entry, name); !part.empty()) {
        text += hatch::printable(part, true);
        if (text.back() != '\n') text += '\n';
      }
    if (!outcome.ok || outcome.result.is_null()) continue;
    text += (outcome.result.is_string() ? hatch::printable(std::string_view(outcome.result.get_string()), true)
                                        : hatch::printable(json::serialize(outcome.result))) +
            '\n';
  }
  return text;
}

// Which processes are to run it, or why none can.
std::vector<const Process*> chosen_of(const std::vector<Process>& processes, const std::string& member, bool all) {
  std::vector<const Process*> chosen;
  for (const Process& process : processes)
    if (process.find(member) && (all || chosen.empty())) chosen.push_back(&process);
  if (!chosen.empty()) return chosen;
  for (const Process& process : processes)
    if (!process.why.empty()) {
      const std::string detail = "process " + std::to_string(process.door.process.pid) + ": " + process.why;
      if (!process.door.missing.empty())
        throw hatch::Failure::rights(detail, {process.door.missing}, process.door.remedy);
      throw hatch::Failure("the hatch was not run: " + detail);
    }
  throw hatch::Failure("no process of the target has the hatch " + member +
                       " any more; app.hatches shows what there is");
}

// Texts as the values that the app describes; what is none of its type stays a text, and the app says so.
void convert(json::object& arguments, const json::object& schema) {
  const json::value* properties = schema.if_contains("properties");
  for (auto& argument : arguments) {
    const json::value* own =
        properties && properties->is_object() ? properties->get_object().if_contains(argument.key()) : nullptr;
    if (!own || !own->is_object() || !argument.value().is_string()) continue;
    const std::string type = text_of(own->get_object(), "type");
    boost::system::error_code error;
    json::value value = json::parse(std::string_view(argument.value().get_string()), error);
    const bool fits = !error && ((type == "boolean" && value.is_bool()) || (type == "array" && value.is_array()) ||
                                 (type == "object" && value.is_object()) ||
                                 ((type == "integer" || type == "number") && value.is_number()));
    if (fits) argument.value() = std::move(value);
  }
}

// Whoever allowed the run went by an older description, or was deceived: what counts is what the app says now.
void refuse_higher_effect(const std::vector<const Process*>& chosen, const Call& call) {
  for (const Process* process : chosen) {
    const Member& member = *process->find(call.member);
    const std::string who = "process " + std::to_string(process->door.process.pid);
    if (rank(member.effect) > rank(call.effect))
      throw hatch::Failure(who + " now says that " + call.member + " is " + member.effect +
                           ", and the run was allowed as " + call.effect + "; look at it and run it again");
    if (rank(member.effect) == 2 && !call.named)
      throw hatch::Failure(call.member +
                           " disrupts, so it is off until the configuration names it: \"hatches\": {\"app." +
                           call.member + "\": {\"enabled\": true}}");
  }
}

}  // namespace

hatch::Result Call::run(hatch::Run& run) {
  if (member.empty()) throw hatch::Failure("app.call without a member only answers dry runs");
  const Clock::time_point begun = Clock::now();
  hatch::Result result;
  auto step = [&, at = begun](std::string_view name, bool ok, std::string_view detail = {}) mutable {
    result.step(name, std::chrono::duration<double, std::milli>(Clock::now() - at).count(), ok, detail);
    at = Clock::now();
  };

  std::vector<Door> doors = find_doors(run, 2);
  common::Follower logs{run, common::mark_of(run)};
  logs.add_open_files(run);
  run.drop_rights();
  step("find", true, std::to_string(doors.size()) + (doors.size() == 1 ? " process" : " processes"));

  const std::vector<Process> processes = ask_all(run, std::move(doors));
  step("ask", true);
  const std::vector<const Process*> chosen = chosen_of(processes, member, workers == "all");
  refuse_higher_effect(chosen, *this);

  boost::system::error_code error;
  json::value parsed = json::parse(arguments, error);
  if (error || !parsed.is_object()) throw hatch::Failure("arguments is no JSON object");
  json::object& object = parsed.get_object();
  const Member& described = *chosen.front()->find(member);
  if (texts) convert(object, described.parameters);
  std::string mark;
  if (!described.mark.empty()) {
    mark = common::mark_of(run);
    std::string text = text_of(object, described.mark);
    if (text.empty())
      if (const json::value* properties = described.parameters.if_contains("properties");
          properties && properties->is_object())
        if (const json::value* own = properties->get_object().if_contains(described.mark); own && own->is_object())
          text = text_of(own->get_object(), "default");
    object[described.mark] = text + (text.empty() ? "" : " ") + "[" + mark + "]";
    result.add("mark", mark);
  }

  const auto limit = described.timeout_ms > 0 ? std::chrono::milliseconds(described.timeout_ms) : default_limit;
  const std::string body = json::serialize(object);
  std::vector<Exchange> exchanges;
  for (const Process* process : chosen)
    exchanges.push_back(
        {process->door.second.get(),
         request_text("POST", "/hatches/" + member, body,
                      {{"Hatchd-Run", std::string(run.id())}, {"Hatchd-Caller", std::string(run.caller())}}),
         {},
         {}});
  if (!mark.empty()) logs.begin(run, true);
  const Clock::time_point called = Clock::now();
  perform(run, exchanges, limit + slack, max_answer);

  std::vector<Outcome> outcomes;
  json::array entries;
  std::size_t succeeded = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    outcomes.push_back(outcome_of(*chosen[i], exchanges[i]));
    succeeded += outcomes.back().ok ? 1 : 0;
    entries.push_back(outcomes.back().entry);
  }
  step("call", succeeded > 0, std::to_string(succeeded) + " of " + std::to_string(chosen.size()) + " succeeded");
  if (outcomes.size() == 1 && outcomes.front().ok)
    result.add("answer", hatch::Raw{json::serialize(outcomes.front().result)});
  result.add("workers", hatch::Raw{json::serialize(entries)});
  const json::object* answer = outcomes.front().result.if_object();
  if (const json::value* status = answer ? answer->if_contains("status") : nullptr; status && status->is_int64())
    result.add("status", status->get_int64());
  std::string text = text_of(outcomes);

  if (succeeded == 0) {
    const Outcome& first = outcomes.front();
    result.verdict(member + " did not succeed: " + hatch::printable(first.detail) +
                   (outcomes.size() > 1 ? " (" + std::to_string(outcomes.size()) + " processes)" : ""));
    throw hatch::Failure("process " + std::to_string(first.pid) + ": " + hatch::printable(first.detail))
        .with(std::move(result.text(text.substr(1))));  // behind the line that says why
  }
  std::string verdict = answer ? text_of(*answer, "verdict") : std::string();
  if (verdict.empty())
    verdict = member + " ran in " +
              (succeeded == 1 ? "process " + std::to_string(outcomes.front().pid)
                              : std::to_string(succeeded) + " processes") +
              ".";
  verdict = hatch::printable(verdict.substr(0, 1000));
  if (succeeded < outcomes.size()) {
    result.partial();
    verdict += " " + std::to_string(outcomes.size() - succeeded) + " did not succeed.";
  }
  const auto said = [&](const std::string& sentence) {
    result.verdict(sentence).text(sentence + '\n' + text);
    return std::move(result);
  };
  if (mark.empty()) return said(verdict);

  // The loop: what was raised must arrive where errors arrive.
  const std::vector<common::Reported> reported = logs.look(run, called, report_limit);
  json::array list;
  for (const common::Reported& each : reported) {
    list.push_back(json::object{{"where", hatch::printable(each.where)},
                                {"after_ms", hatch::rounded_ms(each.after_ms)},
                                {"text", hatch::printable(each.text, true)}});
    text += "\nreported in " + hatch::printable(each.where) + "\n" + hatch::printable(each.text, true) + "\n";
  }
  result.add("reported", hatch::Raw{json::serialize(list)});
  json::array looked, blind;
  for (const std::string& place : logs.places()) looked.emplace_back(hatch::printable(place));
  for (const std::string& why : logs.blind()) blind.emplace_back(hatch::printable(why));
  result.add("looked", hatch::Raw{json::serialize(looked)});
  if (!blind.empty()) result.add("not_seen", hatch::Raw{json::serialize(blind)});
  step("report", !reported.empty(),
       reported.empty() ? "the mark did not arrive" : hatch::printable(reported.front().where));
  if (!reported.empty()) {
    verdict += " It was reported in " + hatch::printable(reported.front().where) + " after " +
               std::to_string(static_cast<long>(reported.front().after_ms)) + " ms.";
    return said(verdict);
  }
  const std::string remedy = "name the target's log in the configuration: \"targets\": {\"" +
                             std::string(run.target_name()) +
                             "\": {\"log\": {\"file\": …}}}, or {\"journal\": true}, a command or a url";
  if (looked.empty()) {
    result.partial().hint(remedy);
    return said(verdict + " Whether it was reported is not known: there is no log to look into.");
  }
  const std::string seconds = std::to_string((logs.waited().count() + 500) / 1000) + " s";
  result.hint("Its log may be elsewhere: " + remedy);
  result.verdict(verdict + " It was not reported within " + seconds + ".");
  throw hatch::Failure("the error was raised and arrived nowhere that was looked at within " + seconds)
      .with(std::move(result.text(text.substr(1))));
}

}  // namespace app
