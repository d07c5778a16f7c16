#include "client/show.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "client/params.hpp"
#include "hatch/json.hpp"

namespace hatchd::client {

namespace json = boost::json;

Result<json::object> record_of(const Client& client, const std::string& run) {
  const Result<Answer> answer =
      exchange(client.endpoint, {"GET", "/v1/runs/" + escape(run) + "?result=false", {}, true});
  if (!answer) return tl::unexpected(answer.error());
  Result<json::value> body = parse_json(answer->body);
  if (!body || !body->is_object())
    return refuse("connection-broken", client.endpoint.name() + " does not answer like hatchd");
  if (answer->status / 100 != 2) return tl::unexpected(problem_from_json(body->get_object()));
  return std::move(body->get_object());
}

std::string place_of(const json::object& record) {
  const json::object* target = object_of(record, "target");
  return text_of(record, "hatch") + (target ? " on " + text_of(*target, "name") : "");
}

std::string head_of(const json::object& record) {
  std::string text;
  const auto line = [&](std::string name, const std::string& value) {
    if (value.empty()) return;
    name.resize(10, ' ');
    text += hatch::printable(name + value) + "\n";
  };
  line("run", text_of(record, "id"));
  const json::object* target = object_of(record, "target");
  const std::int64_t pid = target ? number_of(*target, "pid") : 0;
  line("hatch", place_of(record) + (pid > 0 ? " (pid " + std::to_string(pid) + ")" : ""));
  const json::value* took = record.if_contains("duration_ms");
  line("state",
       text_of(record, "state") +
           (took && took->is_number() ? " after " + std::to_string(took->to_number<std::int64_t>()) + " ms" : ""));
  if (const json::object* caller = object_of(record, "caller")) {
    const std::string login = text_of(*caller, "login");
    line("caller", text_of(*caller, "name") + " via " + text_of(*caller, "via") +
                       (login.empty() || login == text_of(*caller, "name") ? "" : ", logged in as " + login));
  }
  line("created", text_of(record, "created"));
  line("finished", text_of(record, "finished"));
  line("reason", text_of(record, "reason"));
  if (const json::array* artifacts = array_of(record, "artifacts"))
    for (const json::value& value : *artifacts)
      if (const json::object* artifact = value.if_object())
        line("artifact", text_of(*artifact, "name") + ", " + std::to_string(number_of(*artifact, "bytes")) +
                             " bytes, " + text_of(*artifact, "href"));
  return text;
}

int show(const Client& client, const std::string& run) {
  const Call body{"GET", "/v1/runs/" + escape(run), {}};
  if (client.options.json) return tell(client, body);
  const Result<json::object> record = record_of(client, run);
  // What was refused the next call says once more, with its exit code.
  if (record) print(head_of(*record) + "\n");
  return tell(client, body);
}

}  // namespace hatchd::client
