#include "supervisor/reload.hpp"

#include <boost/json.hpp>

#include "catch.hpp"
#include "config/config.hpp"
#include "supervisor/plugins.hpp"

using namespace hatchd;
namespace json = boost::json;

namespace {

json::object effective(const char* text) {
  config::Loaded loaded = config::from_json(json::parse(text).as_object());
  for (const config::Fault& fault : loaded.faults) FAIL(config::to_string(fault));
  return loaded.effective;
}

std::vector<std::string> changed(const char* before, const char* now) {
  return supervisor::needs_restart(effective(before), effective(now));
}

using Keys = std::vector<std::string>;

}  // namespace

TEST_CASE("what takes a restart is named by its key") {
  CHECK(changed("{}", R"({"listen": [{"unix": "/s"}]})") == Keys{"/listen/0/unix"});
  CHECK(changed(R"({"listen": [{"unix": "/s"}]})", R"({"listen": [{"unix": "/s", "mode": "0600", "group": "g"}]})") ==
        Keys{"/listen/0/group", "/listen/0/mode"});
  CHECK(changed(R"({"listen": [{"unix": "/s"}]})", R"({"listen": [{"unix": "/s"}, {"tcp": "127.0.0.1:1"}]})") ==
        Keys{"/listen/1/tcp"});
  CHECK(changed(R"({"listen": [{"unix": "/s"}, {"tcp": "127.0.0.1:1"}]})", R"({"listen": [{"unix": "/s"}]})") ==
        Keys{"/listen/1/tcp"});
  CHECK(changed(R"({"listen": [{"tcp": "0.0.0.0:1", "only": ["health"]}], "tls": {"certificate": "/c", "key": "/k"}})",
                R"({"listen": [{"tcp": "0.0.0.0:1"}], "tls": {"certificate": "/c", "key": "/k"}})") ==
        Keys{"/listen/0/only"});
  CHECK(changed("{}", R"({"users": {"front": "nobody"}})") == Keys{"/users"});
  CHECK(changed("{}", R"({"runs": {"directory": "/r"}, "plugin_directories": ["/p"]})") ==
        Keys{"/plugin_directories", "/runs/directory"});
  CHECK(changed("{}", R"({"plugins": {"stack": {"enabled": false}}})") == Keys{"/plugins/stack/enabled"});
  CHECK(changed("{}", R"({"plugins": {"mine": {"path": "/m.so"}}})") == Keys{"/plugins/mine/path"});
  CHECK(changed(R"({"plugins": {"mine": {"path": "/m.so"}}})",
                R"({"plugins": {"mine": {"path": "/m.so", "capabilities": ["kill"]}}})") ==
        Keys{"/plugins/mine/capabilities"});
}

TEST_CASE("what does not") {
  CHECK(changed("{}", R"({"targets": {"a": {"pid": 1}}, "grace": "1s", "hosts": ["h"], "access": {"read_only": true},
                          "hatches": {"a.b": {"enabled": false}}, "runs": {"keep": {"count": 1}},
                          "plugins": {"mail": {"profiles": {"default": {}}, "own": 1}}})")
            .empty());
  CHECK(changed(R"({"listen": [{"unix": "/s"}]})", R"({"listen": [{"unix": "/s", "anonymous": "viewer"}]})").empty());
  CHECK(changed(R"({"tls": {"certificate": "/c", "key": "/k"}})", R"({"tls": {"certificate": "/d", "key": "/l"}})")
            .empty());
}

TEST_CASE("a plugin's part is judged again by its own schema, and a broken object stays broken") {
  supervisor::LoadedPlugin good, broken;
  good.name = "good";
  good.manifest = json::parse(R"({"plugin": "good", "hatches": [], "configuration":
      {"type": "object", "properties": {"size": {"type": "integer"}}, "additionalProperties": false}})")
                      .as_object();
  broken.name = "broken";
  broken.file = "/opt/hatches/broken.so";
  broken.why_broken = "it does not load";
  supervisor::Plugins plugins;
  plugins.emplace("good", good);
  plugins.emplace("broken", broken);

  config::Config config;
  config.plugins["good"].own = {{"size", 3}};
  std::vector<std::string> failures;
  supervisor::Plugins next = supervisor::reconfigured(plugins, config, failures);
  CHECK(failures.empty());
  CHECK(next.at("good").configuration.at("size") == 3);
  CHECK(next.at("broken").why_broken == "it does not load");

  config.plugins["good"].own = {{"size", "three"}};
  supervisor::Plugins refused = supervisor::reconfigured(next, config, failures);
  REQUIRE(failures.size() == 1);
  CHECK(failures[0].starts_with("/plugins/good/size: "));
  CHECK(next.at("good").configuration.at("size") == 3);  // the old one is as it was

  // What was broken by its settings alone is mended by better ones.
  failures.clear();
  config.plugins["good"].own = {};
  next = supervisor::reconfigured(refused, config, failures);
  CHECK(failures.empty());
  CHECK(next.at("good").why_broken.empty());
}
