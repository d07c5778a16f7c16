#include "catalogue/catalogue.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "catalogue/choose.hpp"
#include "catalogue/describe.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::catalogue;
namespace json = boost::json;

namespace {

const json::array& manifests() {
  static const json::array list = json::parse(R"([
    {"plugin": "stack", "version": "1", "summary": "", "hatches": [
      {"id": "stack.dump", "title": "All threads", "documentation": "Looks at every thread.", "effect": "observe", "target": "required",
       "timeout_ms": 30000, "max_pause_us": 250000, "cooldown_ms": 2000, "concurrency": 1, "enabled": true, "role": "operator",
       "parameters": {"type": "object", "properties": {"pause": {"type": "string", "enum": ["least", "all"], "default": "least"}}},
       "renderings": ["folded"], "capabilities": ["sys_ptrace"], "flags": [], "artifact_types": [], "requirements": [], "preflight": true},
      {"id": "stack.signal", "title": "Cry", "documentation": "", "effect": "act", "target": "required", "enabled": true,
       "parameters": {"type": "object", "properties": {"to": {"type": "string", "examples": ["a&b"]}}, "required": ["to"]}}]},
    {"plugin": "queue", "hatches": [
      {"id": "queue.ping", "kind": "celery", "title": "Ping", "effect": "act", "target": "optional", "enabled": true, "profiles": ["default", "bulk"]},
      {"id": "queue.ping", "kind": "amqp", "title": "Ping", "effect": "act", "target": "optional", "enabled": true, "profiles": ["rabbit"]}]},
    {"plugin": "odd", "hatches": [
      {"id": "odd.future", "title": "F", "effect": "observe", "target": "none", "enabled": true, "requirements": ["time-travel/1"]},
      {"id": "odd.console", "title": "C", "effect": "disrupt", "target": "none", "enabled": true, "flags": ["interactive"]},
      {"id": "odd.misspelt", "title": "M", "effect": "obsreve", "target": "none", "enabled": false}, 17, {"title": "no id"}]},
    {"plugin": "broken", "problem": {"code": "run-failed", "detail": "no entry symbol"}}])")
                                      .as_array();
  return list;
}

Hatch hatch_with(Needs needs) {
  Hatch hatch;
  hatch.id = "a.b";
  hatch.target = needs;
  return hatch;
}

}  // namespace

TEST_CASE("the catalogue holds what manifests say, sorted, and leaves out what is malformed") {
  const Catalogue catalogue(manifests());
  std::vector<std::string> ids;
  for (const Hatch& hatch : catalogue.hatches()) ids.push_back(hatch.id + " " + hatch.kind);
  CHECK(ids == std::vector<std::string>{"odd.console ", "odd.future ", "odd.misspelt ", "queue.ping amqp",
                                        "queue.ping celery", "stack.dump ", "stack.signal "});
  REQUIRE(catalogue.absent().size() == 1);
  CHECK(catalogue.absent()[0].problem.detail == "no entry symbol");
}

TEST_CASE("what this hatchd cannot run is listed and says why not") {
  const Catalogue catalogue(manifests());
  const Hatch* future = *catalogue.find("odd.future");
  CHECK_FALSE(future->enabled);
  CHECK(future->why_not.find("time-travel/1") != std::string::npos);
  const Hatch* console = *catalogue.find("odd.console");
  CHECK_FALSE(console->enabled);
  CHECK(console->why_not.find("interactive") != std::string::npos);
  SECTION("an effect that is not known counts as the highest") {
    CHECK((*catalogue.find("odd.misspelt"))->effect == schema::Effect::disrupt);
  }
}

TEST_CASE("an unknown hatch names the nearest") {
  const Catalogue catalogue(manifests());
  const auto found = catalogue.find("stack.dmup");
  REQUIRE_FALSE(found);
  CHECK(found.error().code == "hatch-unknown");
  CHECK(found.error().detail.find("stack.dump") != std::string::npos);
}

TEST_CASE("the profile tells kinds of one id apart") {
  const Catalogue catalogue(manifests());
  CHECK((*catalogue.find("queue.ping"))->kind == "celery");  // "default" is celery's
  CHECK((*catalogue.find("queue.ping", "rabbit"))->kind == "amqp");
  CHECK((*catalogue.find("queue.ping", "bulk"))->kind == "celery");
  const auto wrong = catalogue.find("queue.ping", "nope");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == "params-invalid");
  REQUIRE(wrong.error().errors.size() == 1);
  CHECK(wrong.error().errors[0].pointer == "/profile");
}

TEST_CASE("a profile is the named one, else the default, else the only one") {
  Hatch hatch;
  CHECK(*choose_profile(hatch, {}) == "");
  CHECK_FALSE(choose_profile(hatch, "x"));
  hatch.profiles = {"one"};
  CHECK(*choose_profile(hatch, {}) == "one");
  hatch.profiles = {"one", "two"};
  CHECK_FALSE(choose_profile(hatch, {}));
  CHECK(*choose_profile(hatch, "two") == "two");
  hatch.profiles = {"one", "default"};
  CHECK(*choose_profile(hatch, {}) == "default");
}

TEST_CASE("a hatch describes itself") {
  const Catalogue catalogue(manifests());
  Door door;
  door.unix_path = "/run/hatchd/hatchd.sock";
  const json::object object = describe(**catalogue.find("stack.dump"), door, {"web", "worker"});
  CHECK(text_of(object, "effect") == "observe");
  CHECK(text_of(object, "role") == "operator");  // raised by the configuration
  CHECK(flag_of(object, "enabled"));
  CHECK(object.at("why_not").is_null());
  CHECK(number_of(object, "max_pause_us") == 250000);
  CHECK(texts_of(object, "targets") == std::vector<std::string>{"web", "worker"});
  CHECK(texts_of(object, "renderings") == std::vector<std::string>{"json", "text", "folded"});
  CHECK(texts_of(*object_of(object, "needs"), "capabilities") == std::vector<std::string>{"sys_ptrace"});
  CHECK(object_of(*object_of(object, "parameters"), "properties")->contains("pause"));
  CHECK(text_of(object, "curl") == "curl --unix-socket /run/hatchd/hatchd.sock h/stack.dump -d target=web");
}

TEST_CASE("the curl line works as it stands") {
  const Catalogue catalogue(manifests());
  Door tcp;
  tcp.origin = "http://127.0.0.1:4282";
  tcp.token = true;
  CHECK(curl_line(**catalogue.find("stack.signal"), tcp, {"it's"}) ==
        "curl -H @token.header http://127.0.0.1:4282/stack.signal -d target='it'\\''s' "
        "--data-urlencode 'to=a&b'");
  Door door;
  door.unix_path = "/tmp/a b.sock";
  CHECK(curl_line(**catalogue.find("queue.ping"), door, {"web"}) ==
        "curl --unix-socket '/tmp/a b.sock' h/queue.ping -X POST");
}

TEST_CASE("texts for terminals hold every hatch and no control character") {
  json::array list = manifests();
  list[0].as_object()["hatches"].as_array()[0].as_object()["title"] = "evil \x1b[2J title";
  const Catalogue catalogue(list);
  std::vector<const Hatch*> hatches;
  for (const Hatch& hatch : catalogue.hatches()) hatches.push_back(&hatch);
  const std::string text =
      list_text(hatches, catalogue.absent()) + page_text(**catalogue.find("stack.dump"), Door{}, {"web"});
  for (const Hatch* hatch : hatches) CHECK(text.find(hatch->id) != std::string::npos);
  CHECK(text.find("no entry symbol") != std::string::npos);
  CHECK(text.find("pause  least|all, default \"least\"") != std::string::npos);
  CHECK(
      std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n'; }));
}

TEST_CASE("choosing the target") {
  struct Row {
    Needs needs;
    std::optional<std::string_view> named;
    std::vector<std::string> names;
    std::string answer, code;
  };
  const auto row = GENERATE(values<Row>({
      {Needs::none, {}, {"web"}, "", ""},
      {Needs::none, "web", {"web"}, "", "params-invalid"},
      {Needs::optional, {}, {"web"}, "", ""},
      {Needs::optional, "web", {"web", "db"}, "web", ""},
      {Needs::optional, "wbe", {"web", "db"}, "", "target-unknown"},
      {Needs::required, {}, {"web"}, "web", ""},
      {Needs::required, "", {"web"}, "web", ""},
      {Needs::required, {}, {}, "", "target-required"},
      {Needs::required, {}, {"db", "web"}, "", "target-required"},
      {Needs::required, "db", {"db", "web"}, "db", ""},
      {Needs::required, "nope", {"db", "web"}, "", "target-unknown"},
  }));
  CAPTURE(to_string(row.needs), row.names);
  const auto chosen = choose_target(hatch_with(row.needs), row.named, row.names, "curl h/a.b");
  if (row.code.empty()) {
    REQUIRE(chosen);
    CHECK(*chosen == row.answer);
  } else {
    REQUIRE_FALSE(chosen);
    CHECK(chosen.error().code == row.code);
  }
}

TEST_CASE("a refused choice names what there is and what to paste") {
  const auto several = choose_target(hatch_with(Needs::required), {}, {"db", "web"}, "curl h/a.b");
  REQUIRE_FALSE(several);
  CHECK(several.error().candidates == std::vector<std::string>{"db", "web"});
  CHECK(several.error().remedy == "curl h/a.b -d target=db");
  const auto typo = choose_target(hatch_with(Needs::required), "wbe", {"db", "web"}, "");
  REQUIRE_FALSE(typo);
  CHECK(typo.error().remedy == "did you mean target=web?");
  Hatch bound = hatch_with(Needs::required);
  bound.bound_to = {"db"};
  CHECK(*choose_target(bound, {}, {"db", "web"}, "") == "db");
  CHECK(choose_target(bound, "web", {"db", "web"}, "").error().detail.find("does not apply") != std::string::npos);
}
