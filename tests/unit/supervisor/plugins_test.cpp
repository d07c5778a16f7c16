#include "supervisor/plugins.hpp"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "catch.hpp"

using namespace hatchd;
namespace json = boost::json;

namespace {

supervisor::Plugins one_plugin(std::string_view manifest) {
  supervisor::LoadedPlugin plugin;
  plugin.name = "demo";
  plugin.manifest = json::parse(manifest).as_object();
  supervisor::Plugins plugins;
  plugins.emplace("demo", std::move(plugin));
  return plugins;
}

const json::object& hatch(const json::array& catalogue, std::size_t index = 0) {
  return catalogue.at(0).at("hatches").at(index).as_object();
}

constexpr const char* manifest = R"({"plugin": "demo", "hatches": [
  {"id": "demo.look", "effect": "observe", "timeout_ms": 30000, "max_pause_us": 0},
  {"id": "demo.break", "effect": "disrupt", "timeout_ms": 30000, "max_pause_us": 0}]})";

}  // namespace

TEST_CASE("hatches that look are on, those that disrupt only by name") {
  const auto plugins = one_plugin(manifest);
  config::Config config;
  auto catalogue = supervisor::catalogue(plugins, config);
  CHECK(flag_of(hatch(catalogue, 0), "enabled"));
  CHECK_FALSE(flag_of(hatch(catalogue, 1), "enabled"));
  CHECK(text_of(hatch(catalogue, 1), "remedy").find("demo.break") != std::string::npos);
  CHECK(supervisor::enabled_hatches(catalogue, "demo", config).size() == 1);

  config.hatches["demo.break"].enabled = true;
  config.hatches["demo.look"].enabled = false;
  catalogue = supervisor::catalogue(plugins, config);
  CHECK_FALSE(flag_of(hatch(catalogue, 0), "enabled"));
  CHECK(flag_of(hatch(catalogue, 1), "enabled"));
}

TEST_CASE("the configuration raises an effect and never lowers it") {
  const auto plugins = one_plugin(manifest);
  config::Config config;
  config.hatches["demo.look"].effect = "act";
  config.hatches["demo.break"].effect = "observe";
  const auto catalogue = supervisor::catalogue(plugins, config);
  CHECK(text_of(hatch(catalogue, 0), "effect") == "act");
  CHECK(text_of(hatch(catalogue, 1), "effect") == "disrupt");
}

TEST_CASE("limits of the configuration replace the manifest's") {
  const auto plugins = one_plugin(manifest);
  config::Config config;
  config.hatches["demo.look"].timeout = std::chrono::milliseconds{1500};
  config.hatches["demo.look"].max_pause = std::chrono::microseconds{70};
  const auto enabled = supervisor::enabled_hatches(supervisor::catalogue(plugins, config), "demo", config);
  CHECK(number_of(*object_of(enabled, "demo.look"), "timeout_ms") == 1500);
  CHECK(number_of(*object_of(enabled, "demo.look"), "max_pause_us") == 70);
}

TEST_CASE("a plugin that works through profiles is off until it has one") {
  auto plugins = one_plugin(R"({"plugin": "demo", "profile": {}, "hatches": [{"id": "demo.send", "effect": "act"}]})");
  config::Config config;
  CHECK_FALSE(flag_of(hatch(supervisor::catalogue(plugins, config)), "enabled"));
  config.plugins["demo"].profiles["default"] = json::object{};
  supervisor::configure(plugins, config);
  CHECK(flag_of(hatch(supervisor::catalogue(plugins, config)), "enabled"));
}

TEST_CASE("the same id and kind twice: the second is off and says whose it is") {
  auto plugins = one_plugin(manifest);
  supervisor::LoadedPlugin other;
  other.name = "other";
  other.manifest =
      json::parse(R"({"plugin": "other", "hatches": [{"id": "demo.look", "effect": "observe"}]})").as_object();
  plugins.emplace("other", std::move(other));
  const auto catalogue = supervisor::catalogue(plugins, {});
  const json::object& second = catalogue.at(1).at("hatches").at(0).as_object();
  CHECK_FALSE(flag_of(second, "enabled"));
  CHECK(text_of(second, "why_not").find("demo") != std::string::npos);
}

TEST_CASE("plugins that serve one hatch by kinds share the profiles of its group, each those of its kind") {
  const auto serving = [](const std::string& name, const std::string& kind) {
    supervisor::LoadedPlugin plugin;
    plugin.name = name;
    plugin.packaged = true;
    plugin.manifest =
        json::object{{"plugin", name},
                     {"profile", json::parse(R"({"type": "object", "properties": {"kind": {"type": "string"},
                                   "broker": {"type": "string"}}, "additionalProperties": false})")},
                     {"hatches", json::array{json::object{{"id", "queue.ping"}, {"kind", kind}, {"effect", "act"}}}}};
    return plugin;
  };
  const auto both = [&] {
    supervisor::Plugins plugins;
    plugins.emplace("queue-celery", serving("queue-celery", "celery"));
    plugins.emplace("queue-redis", serving("queue-redis", "redis"));
    return plugins;
  };
  config::Config config;
  json::object& profiles = config.plugins["queue"].profiles;
  profiles["shop"] = json::object{{"kind", "celery"}, {"broker", "redis://h"}};

  auto plugins = both();
  supervisor::configure(plugins, config);
  auto catalogue = supervisor::catalogue(plugins, config);
  const auto first = [&](std::size_t plugin) { return catalogue.at(plugin).at("hatches").at(0).as_object(); };
  CHECK(flag_of(first(0), "enabled"));
  CHECK(texts_of(first(0), "profiles") == std::vector<std::string>{"shop"});
  CHECK_FALSE(flag_of(first(1), "enabled"));
  CHECK(text_of(first(1), "why_not") == "there is no profile of kind redis");
  CHECK(text_of(first(1), "remedy").find(R"("queue": {"profiles")") != std::string::npos);
  // One kind's process never hears of the other's secrets.
  CHECK(plugins.at("queue-celery").profiles.size() == 1);
  CHECK(plugins.at("queue-redis").profiles.empty());

  profiles["stream"] = json::object{{"kind", "kafka"}};
  plugins = both();
  supervisor::configure(plugins, config);
  CHECK(plugins.at("queue").why_broken ==
        "/plugins/queue/profiles/stream/kind: no plugin serves \"kafka\"; there are: celery, redis");
  CHECK(plugins.at("queue-celery").why_broken.empty());

  profiles.erase("stream");
  profiles["shop"] = json::object{{"kind", "celery"}, {"brokr", "redis://h"}};
  plugins = both();
  supervisor::configure(plugins, config);
  CHECK(plugins.at("queue-celery").why_broken.find("/plugins/queue/profiles/shop/brokr") == 0);

  config.plugins["queue"].enabled = false;
  plugins = both();
  supervisor::configure(plugins, config);
  catalogue = supervisor::catalogue(plugins, config);
  CHECK(text_of(first(1), "why_not") == "plugins.queue is switched off");
}

TEST_CASE("a plugin file that others can write is refused, with its path") {
  std::string folder = "/tmp/hatchd-test-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()));
  const std::string file = folder + "/mine.so";
  std::ofstream(file) << "x";
  ::chmod(file.c_str(), 0755);
  CHECK(supervisor::open_trusted(file));
  ::chmod(file.c_str(), 0777);
  const auto refused = supervisor::open_trusted(file);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().detail.find(file) != std::string::npos);
  ::chmod(file.c_str(), 0755);
  ::chmod(folder.c_str(), 0777);
  CHECK_FALSE(supervisor::open_trusted(file));
  CHECK_FALSE(supervisor::open_trusted(folder + "/absent.so"));
  std::filesystem::remove_all(folder);
}
