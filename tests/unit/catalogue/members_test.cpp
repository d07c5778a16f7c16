#include "catalogue/members.hpp"

#include <boost/json.hpp>

#include "catalogue/catalogue.hpp"
#include "catch.hpp"

using namespace hatchd;
using namespace hatchd::catalogue;
namespace json = boost::json;

namespace {

Catalogue with_family() {
  return Catalogue(json::parse(R"([{"plugin": "app", "hatches": [
    {"id": "app.hatches", "effect": "observe", "target": "required", "enabled": true},
    {"id": "app.call", "effect": "act", "target": "required", "enabled": true, "timeout_ms": 600000, "preflight": true,
     "requirements": ["members/1"]}]}])")
                       .as_array());
}

json::array described(std::string_view text) { return json::parse(text).as_array(); }

}  // namespace

TEST_CASE("a family is not listed, and stands for what its targets have") {
  const Catalogue base = with_family();
  REQUIRE(base.hatches().size() == 1);
  REQUIRE(base.families().size() == 1);
  CHECK_FALSE(base.find("app.call"));
  CHECK(base.may_be_member("app.reindex"));
  CHECK_FALSE(base.may_be_member("app.hatches"));
  CHECK_FALSE(base.may_be_member("stack.dump"));

  const auto members = members_of(base.families()[0], "web", described(R"([
    {"name": "reindex", "title": "t", "documentation": "d", "effect": "act", "role": "admin", "timeout_ms": 5000,
     "parameters": {"type": "object", "properties": {"shop": {"type": "string"}}, "required": ["shop"]}},
    {"name": "hatches", "title": "mine", "effect": "observe"}, {"name": "Bad name"}, 7])"),
                                  {});
  REQUIRE(members.size() == 2);
  const auto whole = base.with(merged(members));
  const auto found = whole->find("app.reindex");
  REQUIRE(found);
  const Hatch& hatch = **found;
  CHECK(hatch.enabled);
  CHECK(hatch.family == "app.call");
  CHECK(hatch.least_role() == access::Role::admin);
  CHECK(hatch.timeout == std::chrono::seconds(5));
  CHECK_FALSE(hatch.preflight);
  CHECK(hatch.applies_to("web"));
  CHECK_FALSE(hatch.applies_to("db"));
  CHECK(hatch.parameters.at("properties").as_object().contains("workers"));
  CHECK(hatch.parameters.at("additionalProperties") == false);
  // The plugin's own hatch is not replaced by what an app calls the same.
  CHECK((*whole->find("app.hatches"))->title.empty());
}

TEST_CASE("what an app says of its hatches is not believed beyond measure") {
  const Catalogue base = with_family();
  const auto members = members_of(base.families()[0], "web", described(R"([
    {"name": "odd", "effect": "harmless", "parameters": {"type": "object"}},
    {"name": "schema", "effect": "observe", "parameters": {"type": "object", "surprise": 1}},
    {"name": "taken", "effect": "observe", "parameters": {"type": "object", "properties": {"target": {"type": "string"}}}},
    {"name": "list", "effect": "observe", "parameters": {"type": "array"}},
    {"name": "slow", "effect": "observe", "timeout_ms": 999999999}])"),
                                  {});
  REQUIRE(members.size() == 5);
  CHECK(members[0].effect == schema::Effect::disrupt);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(members[static_cast<std::size_t>(i)].enabled);
  CHECK(members[0].remedy.find("app.odd") != std::string::npos);
  CHECK(members[1].why_not.find("does not understand") != std::string::npos);
  CHECK(members[2].why_not.find("target") != std::string::npos);
  CHECK(members[4].timeout == base.families()[0].timeout);
}

TEST_CASE("the configuration enables, disables and raises members by their ids") {
  const Catalogue base = with_family();
  Settings settings;
  settings["app.break"].enabled = true;
  settings["app.off"].enabled = false;
  settings["app.look"].effect = "disrupt";
  settings["app.act"].effect = "observe";
  settings["app.act"].timeout = std::chrono::seconds(1);
  const auto members = members_of(base.families()[0], "web", described(R"([
    {"name": "break", "effect": "disrupt"}, {"name": "off", "effect": "observe"}, {"name": "look", "effect": "observe"},
    {"name": "act", "effect": "act"}])"),
                                  settings);
  REQUIRE(members.size() == 4);
  CHECK(members[0].enabled);
  CHECK_FALSE(members[1].enabled);
  CHECK_FALSE(members[2].enabled);                  // raised to what is off until it is named
  CHECK(members[3].effect == schema::Effect::act);  // never lowered
  CHECK(members[3].timeout == std::chrono::seconds(1));
}

TEST_CASE("what several targets have alike is one hatch, what differs is chosen by target") {
  const Catalogue base = with_family();
  const Hatch& family = base.families()[0];
  std::vector<Hatch> all;
  for (const char* target : {"a", "b"})
    for (Hatch& hatch :
         members_of(family, target, described(R"([{"name": "x", "effect": "act", "title": "same"}])"), {}))
      all.push_back(std::move(hatch));
  for (Hatch& hatch :
       members_of(family, "c", described(R"([{"name": "x", "effect": "observe", "title": "other"}])"), {}))
    all.push_back(std::move(hatch));
  const auto whole = base.with(merged(std::move(all)));
  CHECK(whole->hatches().size() == 3);
  CHECK((*whole->find("app.x", {}, "b"))->title == "same");
  CHECK((*whole->find("app.x", {}, "c"))->title == "other");
  CHECK((*whole->find("app.x"))->title == "same");
}
