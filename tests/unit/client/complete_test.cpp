#include "client/complete.hpp"

#include <boost/json.hpp>

#include "catch.hpp"

using namespace hatchd::client;
namespace json = boost::json;
using Words = std::vector<std::string>;

namespace {

const Grammar grammar{{{{"-t", "--target"}, "The target", true}, {{"--json"}, "Print JSON", false}},
                      {{"hatches", "What can be done here", {}},
                       {"describe", "", {}},
                       {"run", "Run a hatch", {}},
                       {"runs", "", {{{"--state"}, "", true}, {{"--hatch"}, "", true}}},
                       {"targets", "", {}},
                       {"show", "", {}},
                       {"cancel", "", {}},
                       {"completion", "", {}}}};

std::vector<std::string> asked;

json::value daemon_says(const std::string& path) {
  asked.push_back(path);
  if (path == "/v1/targets")
    return json::parse(R"({"targets": [{"name": "web", "state": "up"}, {"name": "worker", "state": "gone"}]})");
  if (path == "/v1/hatches")
    return json::parse(R"({"hatches": [
      {"id": "mail.send", "enabled": false, "title": "Send"}, {"id": "queue.ping", "kind": "amqp", "enabled": true},
      {"id": "queue.ping", "kind": "celery", "enabled": true}, {"id": "stack.dump", "enabled": true, "title": "All\nthreads"}]})");
  if (path == "/v1/runs?limit=50")
    return json::parse(R"({"runs": [{"id": "01A", "hatch": "stack.dump", "state": "running"},
                                    {"id": "01B", "hatch": "stack.dump", "state": "failed"}]})");
  if (path == "/v1/hatches/stack.dump" || path == "/v1/hatches/stack.dump?target=web")
    return json::parse(R"({"renderings": ["json", "folded"], "profiles": ["blue"], "parameters": {"properties": {
      "pause": {"enum": ["least", "all", 3], "description": "How"}, "group": {"type": "boolean"},
      "depth": {"examples": [5]}, "profile": {"type": "string"}, "odd": {"enum": ["a\u001b[2Jb"]}}}})");
  return nullptr;
}

Words words_for(const Words& words) {
  asked.clear();
  Words found;
  for (const Candidate& candidate : complete(grammar, words, daemon_says)) found.push_back(candidate.word);
  return found;
}

}  // namespace

TEST_CASE("commands and options") {
  CHECK(words_for({"ru"}) == Words{"run", "runs"});
  CHECK(words_for({""}).size() == grammar.commands.size());
  CHECK(words_for({"-t", "web", "desc"}) == Words{"describe"});
  CHECK(words_for({"--js"}) == Words{"--json"});
  CHECK(words_for({"runs", "--"}) == Words{"--state", "--hatch", "--target", "--json"});
  CHECK(words_for({"hatches", "--st"}).empty());
  CHECK(words_for({"completion", ""}) == Words{"bash", "zsh", "fish"});
  CHECK(words_for({}).size() == grammar.commands.size());
}

TEST_CASE("what the daemon knows") {
  CHECK(words_for({"describe", ""}) == Words{"mail.send", "queue.ping", "stack.dump"});
  CHECK(words_for({"run", ""}) == Words{"queue.ping", "stack.dump"});
  CHECK(words_for({"run", "--json", "st"}) == Words{"stack.dump"});
  CHECK(words_for({"-t", "w"}) == Words{"web", "worker"});
  CHECK(words_for({"--target=we"}) == Words{"--target=web"});
  CHECK(words_for({"targets", "wo"}) == Words{"worker"});
  CHECK(words_for({"targets", "web", ""}).empty());
  CHECK(words_for({"show", ""}) == Words{"01A", "01B"});
  CHECK(words_for({"cancel", ""}) == Words{"01A"});
  CHECK(words_for({"runs", "--state", "f"}) == Words{"failed"});
  CHECK(words_for({"runs", "--hatch", "st"}) == Words{"stack.dump"});
  CHECK(complete(grammar, {"describe", "stack"}, daemon_says).front().help == "All");
}

TEST_CASE("parameters of a hatch and their values") {
  CHECK(words_for({"run", "stack.dump", ""}) == Words{"pause=", "group=", "depth=", "profile=", "odd=", "format="});
  CHECK(words_for({"run", "stack.dump", "pause=all", "p"}) == Words{"profile="});
  CHECK(words_for({"run", "stack.dump", "pause="}) == Words{"pause=least", "pause=all", "pause=3"});
  CHECK(words_for({"run", "stack.dump", "pause=a"}) == Words{"pause=all"});
  CHECK(words_for({"run", "stack.dump", "group="}) == Words{"group=true", "group=false"});
  CHECK(words_for({"run", "stack.dump", "depth="}) == Words{"depth=5"});
  CHECK(words_for({"run", "stack.dump", "profile="}) == Words{"profile=blue"});
  CHECK(words_for({"run", "stack.dump", "format=f"}) == Words{"format=folded"});
  CHECK(words_for({"run", "stack.dump", "nonsense="}).empty());
  CHECK(words_for({"run", "stack.dump", "odd="}).empty());  // not for a terminal
  words_for({"run", "stack.dump", "-t", "web", "pa"});
  CHECK(asked == std::vector<std::string>{"/v1/hatches/stack.dump?target=web"});
}

TEST_CASE("without a daemon there are fewer candidates, and no fault") {
  const Fetch nobody = [](const std::string&) -> json::value { return nullptr; };
  CHECK(complete(grammar, {"run", ""}, nobody).empty());
  CHECK(complete(grammar, {"run", "stack.dump", "pause="}, nobody).empty());
  CHECK(complete(grammar, {"ru"}, nobody).size() == 2);
}

TEST_CASE("candidates as lines") {
  CHECK(lines_of(std::vector<Candidate>{{"pause=", "How \x1b[2J"}, {"x", ""}}) == "pause=\tHow \xEF\xBF\xBD[2J\nx\n");
  for (const char* shell : {"bash", "zsh", "fish"})
    CHECK(completion_script(shell).find("__complete") != std::string::npos);
  CHECK(completion_script("csh").empty());
}
