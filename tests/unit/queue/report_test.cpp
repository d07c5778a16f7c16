#include "queue/frame/report.hpp"

#include "catch.hpp"
#include "hatch/testing.hpp"
#include "queue/frame/settings.hpp"

namespace {

constexpr const char* secret = "hunter2-secret";

struct Leaks {
  static constexpr hatch::About about{.id = "a.b", .title = "", .documentation = ""};
  hatch::Result run(hatch::Run& run) {
    queue::Report report(run);
    report.secret(secret);
    report.begin("one");
    report.good(std::string("the server says ") + secret + "\x1b[2J");
    report.begin("two");
    report.fail(queue::Trouble(std::string("refused: ") + secret + secret, std::string("try ") + secret));
  }
};

struct Addresses {
  static constexpr hatch::About about{.id = "a.b", .title = "", .documentation = "", .flags = HATCH_ENVIRONMENT};
  queue::Source source;
  void params(auto& p) { source.params(p); }
  hatch::Result run(hatch::Run& run) {
    const queue::Settings settings(run, source);
    settings.allow("queue", "b", "a", "queues");
    const queue::Setting found = settings.address("broker", {"CELERY_BROKER_URL", "REDIS_URL"});
    return hatch::Result{found.text + " from " + found.origin + " for " +
                         std::to_string(settings.duration("timeout", std::chrono::seconds{5}).count())};
  }
};

}  // namespace

TEST_CASE("a secret and a control character are in no part of an answer") {
  const auto answer = hatch::testing::run<Leaks>();
  CHECK(answer.status == HATCH_FAILED);
  for (const std::string& text : {answer.result, answer.failure.detail}) {
    CHECK(text.find(secret) == std::string::npos);
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find("******") != std::string::npos);
  }
  CHECK(answer.failure.detail == "refused: ************");
  CHECK(answer.member("steps").find(R"("name":"two")") != std::string::npos);
}

TEST_CASE("numbers for people") {
  CHECK(queue::grouped(5210) == "5,210");
  CHECK(queue::grouped(-1234567) == "-1,234,567");
  CHECK(queue::grouped(7) == "7");
  CHECK(queue::counted(1, "worker") == "1 worker");
  CHECK(queue::counted(0, "worker") == "0 workers");
}

TEST_CASE("addresses come from the profile, or from the target's environment, and say from where") {
  const char* profile = R"({"kind": "celery", "broker": "redis://profile", "queues": ["b"], "timeout": "250ms"})";
  hatch::testing::FakeHost host;
  host.profile(profile).params({{"profile", "shop"}});
  CHECK(host.run<Addresses>().member("verdict") == "redis://profile from profile shop for 250");

  hatch::testing::FakeHost target;
  target.profile(profile).params({{"from", "target"}}).process(::getpid());
  target.file(HATCH_FILE_ENVIRONMENT, std::string("PATH=/bin\0REDIS_URL=redis://env\0", 33));
  CHECK(target.run<Addresses>().member("verdict") ==
        "redis://env from REDIS_URL of process " + std::to_string(::getpid()) + " for 250");

  hatch::testing::FakeHost closed;
  closed.profile(profile).params({{"from", "target"}}).process(::getpid());
  const auto refused = closed.run<Addresses>();
  CHECK(refused.failure.code == "rights-missing");
  CHECK(refused.failure.remedy.find("AmbientCapabilities") != std::string::npos);

  hatch::testing::FakeHost unlisted;
  unlisted.profile(R"({"kind": "celery"})");
  CHECK(unlisted.run<Addresses>().failure.remedy.find("\"queues\"") != std::string::npos);
}

TEST_CASE("the target's network: nothing to do where it is ours, a refusal without a target") {
  hatch::testing::FakeHost same;
  same.profile(R"({"queues": ["b"]})").params({{"network", "target"}}).process(::getpid());
  CHECK(same.run<Addresses>().status == HATCH_OK);
  hatch::testing::FakeHost none;
  none.params({{"network", "target"}});
  CHECK(none.run<Addresses>().failure.detail.find("takes a target") != std::string::npos);
}
