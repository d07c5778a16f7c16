#include "client/preflight.hpp"

#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cstring>
#include <fstream>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/rights.hpp"
#include "base/table.hpp"
#include "client/params.hpp"
#include "client/progress.hpp"
#include "client/speech.hpp"
#include "hatch/json.hpp"
#include "schema/words.hpp"

namespace hatchd::client {

namespace json = boost::json;

namespace {

constexpr std::size_t max_checks = 2000;

// ---- who is asked
// ------------------------------------------------------------------------------------------------------------------

std::string in_capitals(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return "CAP_" + name;
}

std::vector<std::string> capabilities_of(const std::string& hex) {
  std::uint64_t set = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), set, 16);
  const std::vector<std::string> known = rights::known_capabilities();  // by their numbers
  std::vector<std::string> names;
  for (std::size_t number = 0; number < known.size() && number < 64; ++number)
    if ((set >> number & 1) != 0) names.push_back(in_capitals(known[number]));
  return names;
}

// The kernel's word on who listens there: the supervisor, since it made the socket (unix(7), SO_PEERCRED).
std::optional<Judge> judge_behind(const Endpoint& endpoint) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (endpoint.socket.empty() || endpoint.socket.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, endpoint.socket.c_str(), endpoint.socket.size());
  const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0)
    return std::nullopt;
  Judge judge{peer.pid, peer.uid, {}};
  std::ifstream status("/proc/" + std::to_string(peer.pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("CapPrm:\t")) judge.capabilities = capabilities_of(line.substr(8));
  return judge;
}

std::string user_text(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry != nullptr ? "the user " + hatch::printable(entry->pw_name) : "the user id " + std::to_string(uid);
}

std::string joined(const std::vector<std::string>& words, std::string_view between = ", ") {
  std::string text;
  for (const std::string& word : words) ((text += text.empty() ? "" : between)) += word;
  return text;
}

std::string sentence_of(const Judge& judge) {
  return "Judged by hatchd (process " + std::to_string(judge.pid) + ") as " + user_text(judge.uid) + ", " +
         (judge.capabilities.empty() ? "without capabilities" : "with " + joined(judge.capabilities, " ")) + ".\n";
}

// ---- trying
// ------------------------------------------------------------------------------------------------------------------

// One dry run: of which hatch, with which target and profile.
struct Check {
  const json::object* hatch = nullptr;
  std::string target, profile;
};

std::vector<std::string> or_none(std::vector<std::string> names) {
  if (names.empty()) names.emplace_back();
  return names;
}

// The targets on which a hatch is tried. One that may go without a target goes without, unless a target is named.
std::vector<std::string> targets_for(const json::object& hatch, const std::string& named) {
  const std::string use = text_of(hatch, "target");
  if (use == "required") return texts_of(hatch, "targets");
  if (named.empty()) return {""};
  if (use == "none") return {};
  return {named};
}

std::vector<Check> checks_of(const json::object& catalogue, const std::string& target,
                             const std::vector<std::string>& wanted) {
  std::vector<Check> checks;
  const json::array* hatches = array_of(catalogue, "hatches");
  if (hatches == nullptr) return checks;
  for (const json::value& value : *hatches) {
    const json::object* hatch = value.if_object();
    if (hatch == nullptr) continue;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), text_of(*hatch, "id")) == wanted.end()) continue;
    for (const std::string& name : targets_for(*hatch, target))
      for (const std::string& profile : or_none(texts_of(*hatch, "profiles"))) checks.push_back({hatch, name, profile});
  }
  // By target, as one reads it.
  std::stable_sort(checks.begin(), checks.end(), [](const Check& a, const Check& b) { return a.target < b.target; });
  return checks;
}

// Parameters that have no default.
std::vector<std::string> open_parameters(const json::object& hatch) {
  const json::object* schema = object_of(hatch, "parameters");
  return schema != nullptr ? texts_of(*schema, "required") : std::vector<std::string>{};
}

// A value that the schema itself offers, or that fits what most of them ask for; nullopt: nobody can guess one.
std::optional<std::string> sample(const json::object& schema) {
  const auto scalar = [](const json::value& value) -> std::optional<std::string> {
    if (value.is_structured()) return std::nullopt;
    return schema::scalar_text(value);
  };
  for (const char* list : {"examples", "enum"})
    if (const json::array* values = array_of(schema, list); values != nullptr && !values->empty())
      return scalar(values->front());
  const std::string type = text_of(schema, "type", "string");
  if (type == "boolean") return "false";
  if (type == "string")
    return std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(number_of(schema, "minLength"), 1, 1000)),
                       'x');
  if (type != "integer" && type != "number") return std::nullopt;
  const json::value* least = schema.if_contains("minimum");
  return least != nullptr ? scalar(*least) : "1";
}

// The parameters that have no default, with values that are right in form; nullopt when one has none.
std::optional<Fields> sampled(const json::object& hatch, const std::vector<std::string>& open) {
  Fields fields;
  const json::object* schema = object_of(hatch, "parameters");
  const json::object* properties = schema != nullptr ? object_of(*schema, "properties") : nullptr;
  for (const std::string& name : open) {
    const json::object* property = properties != nullptr ? object_of(*properties, name) : nullptr;
    const std::optional<std::string> value = property != nullptr ? sample(*property) : std::nullopt;
    if (!value) return std::nullopt;
    fields.emplace_back(name, *value);
  }
  return fields;
}

std::string command_line(const Check& check) {
  std::string line = "hatchctl run " + text_of(*check.hatch, "id");
  if (!check.target.empty()) line += " -t " + check.target;
  if (!check.profile.empty()) line += " profile=" + check.profile;
  return line;
}

void take_answer(Finding& finding, const Judge* judge, const json::object& answer) {
  finding.detail = text_of(answer, "detail");
  finding.missing = texts_of(answer, "missing");
  finding.remedy = text_of(answer, "remedy");
  finding.code = text_of(answer, "code");
  finding.is = flag_of(answer, "ready") ? Finding::Is::ready : Finding::Is::not_ready;
  if (finding.is != Finding::Is::ready || flag_of(answer, "probed", true)) return;
  // All that is known is that target and parameters are right. What it declares and hatchd has not is worth a word.
  finding.detail = "it has no dry run of its own";
  std::vector<std::string> lacking;
  if (judge != nullptr)
    for (const std::string& name : finding.capabilities)
      if (std::find(judge->capabilities.begin(), judge->capabilities.end(), name) == judge->capabilities.end())
        lacking.push_back(name);
  if (!lacking.empty()) finding.detail += ", and hatchd lacks " + joined(lacking) + ", which it may need";
}

void take_refusal(Finding& finding, const Answer& answer, const json::object* body) {
  const Problem problem = body != nullptr ? problem_from_json(*body) : Problem{};
  finding.code = problem.code;
  finding.detail =
      problem.detail.empty() ? "the answer was HTTP status " + std::to_string(answer.status) : problem.detail;
  finding.missing = problem.missing;
  finding.remedy = problem.remedy;
  // Busy, or a parameter that only a person knows: no verdict on the hatch.
  finding.is = answer.status == 403                           ? Finding::Is::not_allowed
               : answer.status == 422 || answer.status == 429 ? Finding::Is::untried
                                                              : Finding::Is::not_ready;
}

Finding described(const Check& check) {
  Finding finding;
  finding.target = check.target;
  finding.hatch = text_of(*check.hatch, "id");
  finding.profile = check.profile;
  if (check.profile.empty()) finding.kind = text_of(*check.hatch, "kind");
  if (const json::object* needs = object_of(*check.hatch, "needs"))
    for (std::string& name : texts_of(*needs, "capabilities"))
      finding.capabilities.push_back(in_capitals(std::move(name)));
  return finding;
}

// Refused only when nobody answers any more.
Result<Finding> tried(const Client& client, const Check& check, const Judge* judge, Finding finding) {
  if (!flag_of(*check.hatch, "enabled")) {
    finding.is = Finding::Is::off;
    finding.detail = text_of(*check.hatch, "why_not");
    finding.remedy = text_of(*check.hatch, "remedy");
    return finding;
  }
  const std::vector<std::string> open = open_parameters(*check.hatch);
  std::optional<Fields> samples = sampled(*check.hatch, open);
  Finding untried = finding;
  untried.detail = "it takes " + joined(open);
  untried.remedy = command_line(check) + " --dry-run " + joined(open, "=… ") + "=…";
  if (!samples) return untried;
  // A reason, where the daemon wants one for a run; a dry run leaves no record that would keep it.
  Fields fields = std::move(*samples);
  fields.insert(fields.end(), {{"dry_run", "true"}, {"reason", "preflight"}});
  if (!check.target.empty()) fields.emplace_back("target", check.target);
  if (!check.profile.empty()) fields.emplace_back("profile", check.profile);
  const Result<Answer> answer =
      exchange(client.endpoint, {"POST", "/v1/hatches/" + escape(finding.hatch), form(fields), true});
  if (!answer) {
    if (answer.error().code == "cannot-connect") return tl::unexpected(answer.error());
    finding.is = Finding::Is::not_ready;
    finding.detail = answer.error().detail;
    return finding;
  }
  const Result<json::value> body = parse_json(answer->body);
  const json::object* object = body ? body->if_object() : nullptr;
  if (answer->status == 200 && object != nullptr)
    take_answer(finding, judge, *object);
  else
    take_refusal(finding, *answer, object);
  // Of a made-up value nothing counts but what is missing whatever the value.
  const bool lacks = finding.is == Finding::Is::not_ready && !finding.missing.empty();
  return open.empty() || lacks || finding.is == Finding::Is::not_allowed ? finding : untried;
}

// A plugin that could not be opened has hatches that nobody knows.
void add_broken_plugins(const json::object& catalogue, std::vector<Finding>& findings) {
  const json::array* plugins = array_of(catalogue, "unavailable");
  if (plugins == nullptr) return;
  for (const json::value& value : *plugins) {
    const json::object* plugin = value.if_object();
    if (plugin == nullptr) continue;
    Finding finding;
    finding.hatch = text_of(*plugin, "plugin") + ".*";
    finding.is = Finding::Is::not_ready;
    finding.detail = "the plugin cannot be used: " + text_of(*plugin, "why_not");
    if (const json::object* problem = object_of(*plugin, "problem")) finding.remedy = text_of(*problem, "remedy");
    findings.push_back(std::move(finding));
  }
}

// ---- telling
// ------------------------------------------------------------------------------------------------------------------

std::string_view word_of(Finding::Is is) {
  switch (is) {
    case Finding::Is::ready: return "ready";
    case Finding::Is::not_ready: return "not ready";
    case Finding::Is::not_allowed: return "not allowed";
    case Finding::Is::off: return "off";
    case Finding::Is::untried: return "untried";
  }
  return "untried";
}

std::string hatch_of(const Finding& finding) {
  return finding.hatch + (finding.kind.empty() ? "" : " (" + finding.kind + ")") +
         (finding.profile.empty() ? "" : " profile=" + finding.profile);
}

std::string name_of(const Finding& finding) {
  return hatch_of(finding) + (finding.target.empty() ? "" : " on " + finding.target);
}

std::string indented(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    (out += "  ") += text.substr(at, end - at);
    at = end;
  }
  return out;
}

// Why each is as it is, and each remedy once, with all that it is for.
std::string reasons_text(const std::vector<Finding>& findings) {
  std::string text;
  std::vector<std::pair<std::string, std::string>> remedies;  // text, names; in the order of the table
  for (const Finding& finding : findings) {
    if (finding.is == Finding::Is::ready || finding.is == Finding::Is::off) continue;
    text += "\n" + name_of(finding) + ": " + finding.detail + "\n";
    for (const std::string& entry : finding.missing) text += "missing: " + entry + "\n";
    if (finding.remedy.empty() || is_advised(finding)) continue;
    const auto same = std::find_if(remedies.begin(), remedies.end(),
                                   [&](const auto& remedy) { return remedy.first == finding.remedy; });
    if (same == remedies.end())
      remedies.emplace_back(finding.remedy, name_of(finding));
    else
      same->second += ", " + name_of(finding);
  }
  if (!remedies.empty()) text += "\n";
  for (const auto& [remedy, names] : remedies) text += "remedy: " + in_commands(remedy) + " (" + names + ")\n";
  return hatch::printable(text, true);
}

std::string advice_text(const Advice& advice) {
  std::string text;
  const auto part = [&](const char* title, const std::string& lines) {
    if (!lines.empty()) text += "\nremedy: " + std::string(title) + "\n" + indented(lines);
  };
  part("at a prompt", advice.prompt);
  part("systemd: systemctl edit hatchd, and restart it", advice.systemd);
  part("Kubernetes: in the specification of the pod", advice.kubernetes);
  part("the kernel's setting", advice.kernel);
  return hatch::printable(text, true);
}

std::string table_text(const std::vector<Finding>& findings) {
  Table table({"TARGET", "HATCH", "IS", "WHAT IS MISSING"});
  for (const Finding& finding : findings) {
    const bool tells = !finding.missing.empty();
    table.row({finding.target.empty() ? "-" : finding.target, hatch_of(finding), std::string(word_of(finding.is)),
               tells ? joined(finding.missing, "; ") : finding.detail});
  }
  return table.empty() ? "no hatches\n" : table.text();
}

json::value or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

json::object body_of(const std::vector<Finding>& findings, const std::optional<Judge>& judge, const Advice& advice) {
  json::object body{{"ready", exit_of(findings) == succeeded}};
  body["judged_as"] =
      judge ? json::value(json::object{
                  {"pid", judge->pid}, {"uid", judge->uid}, {"capabilities", json::value_from(judge->capabilities)}})
            : json::value(nullptr);
  json::array& checks = body["checks"].emplace_array();
  for (const Finding& finding : findings)
    checks.push_back(json::object{{"target", or_null(finding.target)},
                                  {"hatch", finding.hatch},
                                  {"kind", or_null(finding.kind)},
                                  {"profile", or_null(finding.profile)},
                                  {"is", word_of(finding.is)},
                                  {"code", or_null(finding.code)},
                                  {"detail", or_null(finding.detail)},
                                  {"missing", json::value_from(finding.missing)},
                                  {"remedy", or_null(finding.remedy)}});
  body["remedies"] = {{"prompt", or_null(advice.prompt)},
                      {"systemd", or_null(advice.systemd)},
                      {"kubernetes", or_null(advice.kubernetes)},
                      {"kernel", or_null(advice.kernel)}};
  return body;
}

}  // namespace

int preflight(const Client& client, const std::vector<std::string>& wanted) {
  const std::string& target = client.options.target;
  const Fields query = target.empty() ? Fields{} : Fields{{"target", target}};
  const Call call{"GET", "/v1/hatches" + (query.empty() ? "" : "?" + form(query)), {}, true};
  const Result<Answer> answer = exchange(client.endpoint, call);
  if (!answer) return report(answer.error(), client.options, client.screen);
  const Result<json::value> body = parse_json(answer->body);
  const json::object* catalogue = body ? body->if_object() : nullptr;
  if (catalogue == nullptr)
    return report({"connection-broken", client.endpoint.name() + " does not answer like hatchd"}, client.options,
                  client.screen);
  if (answer->status / 100 != 2) {
    if (client.options.json) return refused(client, *answer);
    report(problem_from_json(*catalogue), client.options, client.screen);
    return exit_of(*answer);
  }
  std::vector<Check> checks = checks_of(*catalogue, target, wanted);
  for (const std::string& id : wanted)
    if (std::none_of(checks.begin(), checks.end(),
                     [&](const Check& check) { return text_of(*check.hatch, "id") == id; }))
      return report({"usage", "there is no hatch \"" + id + "\" to try here", {}, "hatchctl hatches"}, client.options,
                    client.screen);
  if (checks.size() > max_checks) {
    complain("only the first " + std::to_string(max_checks) + " of " + std::to_string(checks.size()) +
             " are tried; name a target with -t, or a hatch\n");
    checks.resize(max_checks);
  }

  const std::optional<Judge> judge = judge_behind(client.endpoint);
  std::vector<Finding> findings;
  {
    Progress progress(client.screen.bars());
    for (const Check& check : checks) {
      Finding finding = described(check);
      progress.show(static_cast<std::int64_t>(findings.size() * 10'000 / checks.size()), name_of(finding));
      Result<Finding> done = tried(client, check, judge ? &*judge : nullptr, std::move(finding));
      if (!done) {
        progress.clear();
        return report(done.error(), client.options, client.screen);
      }
      findings.push_back(std::move(*done));
    }
  }
  if (wanted.empty()) add_broken_plugins(*catalogue, findings);

  const Advice advice = advice_on(findings);
  if (client.options.json) {
    print(shown(pretty(body_of(findings, judge, advice)), !client.screen.terminal));
  } else {
    const std::string reasons = reasons_text(findings) + advice_text(advice);
    print((judge ? sentence_of(*judge) + "\n" : "") + table_text(findings) +
          (client.screen.terminal && client.screen.colour ? painted(reasons) : reasons));
  }
  return exit_of(findings);
}

}  // namespace hatchd::client
