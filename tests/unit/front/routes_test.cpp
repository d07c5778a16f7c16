// Every route × role × effect, by requests through the pipeline and the handlers themselves.
#include "front/routes.hpp"

#include <openssl/evp.h>

#include "audit/audit.hpp"
#include "catch.hpp"
#include "house.hpp"
#include "http/pipeline.hpp"
#include "metrics/metrics.hpp"

using access::Role;
using schema::Effect;

namespace {

constexpr Role roles[] = {Role::none, Role::metrics, Role::viewer, Role::operator_, Role::admin};
constexpr Effect effects[] = {Effect::observe, Effect::act, Effect::disrupt};

// What a route takes, for a hatch or a run of each effect. Whoever adds a route says here who may use it.
struct Needs {
  Role observe, act, disrupt;
};
constexpr Needs open{Role::none, Role::none, Role::none};
constexpr Needs viewer{Role::viewer, Role::viewer, Role::viewer};
constexpr Needs by_effect{Role::viewer, Role::operator_, Role::admin};
const std::map<std::string, Needs> expected{
    {"GET /", viewer},
    {"GET /robots.txt", open},
    {"GET /livez", open},
    {"GET /healthz", open},
    {"GET /readyz", open},
    {"GET /openapi.json", viewer},
    {"GET /metrics", {Role::metrics, Role::metrics, Role::metrics}},
    {"GET /v1/hatches", viewer},
    {"GET /v1/hatches/{id}", viewer},
    {"POST /v1/hatches/{id}", by_effect},
    {"GET /v1/targets", viewer},
    {"GET /v1/targets/{name}", viewer},
    {"GET /v1/runs", viewer},
    {"GET /v1/runs/{id}", by_effect},
    {"DELETE /v1/runs/{id}", by_effect},
    {"GET /v1/runs/{id}/events", by_effect},
    {"GET /v1/runs/{id}/artifacts/{name}", by_effect},
    {"DELETE /v1/runs/{id}/artifacts/{name}", by_effect},
    {"GET /v1/audit", {Role::admin, Role::admin, Role::admin}},
    {"GET /{group.verb}", viewer},
    {"POST /{group.verb}", by_effect},
};

Role needed(const Needs& needs, Effect effect) {
  return effect == Effect::observe ? needs.observe : effect == Effect::act ? needs.act : needs.disrupt;
}

std::string sha256(std::string_view text) {
  unsigned char digest[32];
  EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (const unsigned char byte : digest) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  return hex;
}

std::string hatch_of(Effect effect) { return "probe." + std::string(schema::to_string(effect)); }

// `hatchd: targets` as a thread: there is nothing.
class NoTargets {
 public:
  explicit NoTargets(UniqueFd end)
      : thread_([fd = std::make_shared<UniqueFd>(std::move(end))] {
          link::Channel channel(std::move(*fd));
          link::Message ask;
          while (channel.wait(ask, 20'000) == link::Received::message)
            channel.send("listed", {{"tag", ask.body.at("tag")}, {"targets", json::array{}}});
        }) {}
  ~NoTargets() { thread_.join(); }

 private:
  std::thread thread_;
};

struct Doors : House {
  api::Finder finder{io.get_executor()};
  std::shared_ptr<const access::Policy> policy;
  api::Api api{std::make_shared<const catalogue::Catalogue>(json::parse(R"([{"plugin": "probe", "hatches": [
      {"id": "probe.observe", "title": "Look", "effect": "observe", "target": "none", "enabled": true},
      {"id": "probe.act", "title": "Act", "effect": "act", "target": "none", "enabled": true},
      {"id": "probe.disrupt", "title": "Disrupt", "effect": "disrupt", "target": "none", "enabled": true}]}])")
                                                                .as_array()),
               runner,
               pool,
               finder,
               [this] { return policy; },
               {{"/run/h.sock", ""}},
               {}};
  Folder audit_folder;
  audit::Audit audit{std::move(audit_folder.fd), "audit.jsonl", {}};
  metrics::Metrics metrics{"test", {}};
  std::optional<NoTargets> targets;
  std::optional<http::Pipeline> pipeline;

  explicit Doors(bool read_only = false) {
    auto [ours, theirs] = link::Channel::pair();
    targets.emplace(std::move(theirs));
    finder.connect(link::Channel(std::move(ours)));
    api.audit = &audit;
    api.metrics = &metrics;
    acts = {succeed, succeed};
    config::Access rules;
    rules.peers = {{"root", "", "admin"}};
    rules.read_only = read_only;
    for (const Role role : roles)
      if (role != Role::none) {
        const std::string name(access::to_string(role));
        rules.tokens.push_back({name, sha256("hatchd_" + name), name, {}, {}, {}});
      }
    config::Listen local;
    local.unix_path = "/run/h.sock";
    const config::PeerIds ids{{{"root", 0}}, {}, {}, {}};
    policy = std::make_shared<const access::Policy>(access::make_policy(rules, {local}, ids));
    pipeline.emplace(front::routes(api), *policy, std::vector<std::string>{});
  }
  ~Doors() {
    finder.close();
    io.restart();
    io.poll();
  }

  http::Response ask(Role role, const std::string& method, const std::string& path) {
    http::Request request;
    request.id = new_ulid();
    request.method = method;
    request.path = request.target = path;
    request.peer.local = true;
    request.peer.uid = 4999;  // nobody; what counts is the token
    if (role != Role::none)
      request.headers.emplace_back("authorization", "Bearer hatchd_" + std::string(access::to_string(role)));
    if (method == "POST") request.headers.emplace_back("content-type", "application/x-www-form-urlencoded");
    http::Response response;
    go([&]() -> asio::awaitable<void> { response = co_await pipeline->answer(request); });
    return response;
  }

  // A run of a hatch of that effect, over and recorded.
  std::string run_of(Effect effect) {
    const http::Response response = ask(Role::admin, "POST", "/v1/hatches/" + hatch_of(effect));
    INFO(response.body);
    REQUIRE(response.status == 200);
    return text_of(json::parse(response.body).as_object(), "id");
  }
};

std::string replaced(std::string text, std::string_view part, const std::string& by) {
  if (const std::size_t at = text.find(part); at != text.npos) text.replace(at, part.size(), by);
  return text;
}

}  // namespace

TEST_CASE("every route by every role, for every effect") {
  Doors doors;
  std::map<Effect, std::string> runs;
  for (const Effect effect : effects) runs[effect] = doors.run_of(effect);
  std::size_t walked = 0;
  for (const http::Route& route : doors.pipeline->router().all()) {
    const std::string name = route.method + " " + route.pattern;
    CAPTURE(name);
    const auto needs = expected.find(name);
    if (needs == expected.end()) FAIL("a route without an expectation: say in `expected` who may use it");
    for (const Effect effect : effects)
      for (const Role role : roles) {
        const bool of_run = route.pattern.find("/runs/") != std::string::npos;
        std::string path = replaced(route.pattern, "{id}", of_run ? runs[effect] : hatch_of(effect));
        path = replaced(replaced(path, "{group.verb}", hatch_of(effect)), "{name}", "none");
        const http::Response response = doors.ask(role, route.method, path);
        CAPTURE(path, access::to_string(role), response.status, response.body);
        const bool allowed = role >= needed(needs->second, effect);
        CHECK(allowed == (response.status != 403 && response.status != 401));
        if (!allowed) CHECK(response.body.find("role-missing") != std::string::npos);
        ++walked;
      }
  }
  CHECK(walked == expected.size() * 15);  // and nothing is expected that is not there
}

TEST_CASE("read_only shuts what changes something, for every role") {
  Doors doors(true);
  for (const http::Route& route : doors.pipeline->router().all()) {
    if (route.action != access::Action::run) continue;
    for (const Effect effect : effects) {
      std::string path = replaced(replaced(route.pattern, "{id}", hatch_of(effect)), "{group.verb}", hatch_of(effect));
      const http::Response response = doors.ask(Role::admin, route.method, path);
      CAPTURE(path, response.body);
      CHECK((response.status == 403) == (effect != Effect::observe));
      if (effect != Effect::observe) CHECK(response.body.find("read-only") != std::string::npos);
    }
  }
}
