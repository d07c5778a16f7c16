// The C++ header through the fake host: parameters, answers, and the barrier that lets no exception out.

#include <thread>

#include "catch.hpp"
#include "hatch/testing.hpp"

namespace {

using hatch::testing::FakeHost;

struct Everything {
  static constexpr hatch::About about{.id = "test.everything",
                                      .title = "Everything",
                                      .documentation = "All kinds of parameters.",
                                      .effect = hatch::Effect::act,
                                      .target = hatch::Target::optional,
                                      .timeout = std::chrono::seconds{5},
                                      .max_pause = std::chrono::milliseconds{2},
                                      .kind = "special",
                                      .capabilities = {"sys_ptrace"}};
  std::string text = "a";
  bool yes = true;
  int number = 1;
  double ratio = 1.5;
  std::vector<std::string> words;
  std::vector<double> numbers;

  void params(auto& p) {
    p.required("text", text, "Text").length(1, 3).pattern("[a-z]+").secret();
    p.optional("yes", yes, "Yes").effect(hatch::Effect::disrupt);
    p.optional("number", number, "Number").range(0, 9).effect("7", hatch::Effect::act);
    p.optional("ratio", ratio, "Ratio");
    p.optional("words", words, "Words");
    p.optional("numbers", numbers, "Numbers");
  }
  hatch::Result run(hatch::Run& run) {
    hatch::Array list;
    for (const std::string& word : words) list.add(word);
    double sum = 0;
    for (const double each : numbers) sum += each;
    return hatch::Result{"did it"}
        .add("text", text)
        .add("yes", yes)
        .add("number", number)
        .add("ratio", ratio)
        .add("words", list)
        .add("sum", sum)
        .add("all", hatch::Raw{run.params()})
        .text("did it, nicely");
  }
};

enum class How { failure, rights, cancelled, bug, integer };
template <How how>
struct Throws {
  static constexpr hatch::About about{.id = "test.throws", .title = "Throws", .documentation = "Throws."};
  hatch::Result run(hatch::Run&) {
    if (how == How::failure) throw hatch::Failure("no").with(hatch::Result{"half"});
    if (how == How::rights) throw hatch::Failure::rights("no", {"a", "b"}, "ask");
    if (how == How::cancelled) throw hatch::Cancelled{};
    if (how == How::bug) throw std::out_of_range("index");
    throw 42;
  }
};

struct Waits {
  static constexpr hatch::About about{.id = "test.waits", .title = "Waits", .documentation = "Waits."};
  hatch::Result run(hatch::Run& run) {
    if (run.wait(-1, 0, std::chrono::milliseconds{20})) throw hatch::Failure("nothing can be ready");
    run.wait(-1, 0);
    return hatch::Result{"not reached"};
  }
};

struct Talks {
  static constexpr hatch::About about{.id = "test.talks", .title = "Talks", .documentation = "Talks."};
  hatch::Result run(hatch::Run& run) {
    run.progress(0.25, "a quarter");
    run.progress(7);
    run.log(hatch::Level::error, "oops");
    run.output("out");
    run.output("put");
    {
      hatch::Artifact lost = run.artifact("lost.txt", "text/plain");
      lost.write("half");
    }
    hatch::Artifact kept = run.artifact("kept.txt", "text/plain");
    kept.write("whole");
    kept.commit();
    run.pause_begin();
    run.pause_end();
    run.drop_rights();
    const auto processes = run.processes();
    const int environment = run.target_file(0, HATCH_FILE_ENVIRONMENT);
    char text[16] = {};
    if (environment >= 0 && ::read(environment, text, sizeof text - 1) < 0) text[0] = '?';
    ::close(environment);
    return hatch::Result{"talked"}
        .step("one", 1.5, true)
        .add("pid", processes.empty() ? 0 : processes[0].pid)
        .add("environment", text)
        .add("log", run.target_file(0, HATCH_FILE_LOG))
        .add("profile", hatch::Raw{run.profile()})
        .add("extension", run.extension("x/1") == nullptr);
  }
};

// A description that a plugin with these hatches would give.
const hatch_plugin* described() { return hatch::detail::entry<Everything, Talks>({"test", "1.0", "For tests"}); }

}  // namespace

TEST_CASE("a result says its verdict and its steps before its members, whatever was said first") {
  hatch::Result result{"did it"};
  result.add("count", 1).add("list", hatch::Raw{"[1,2]"}).step("look", 1.5, true);
  CHECK(result.take_json() ==
        R"({"verdict":"did it","steps":[{"name":"look","ms":1.5,"ok":true}],"count":1,"list":[1,2]})");
  CHECK(hatch::Result{"nothing else"}.take_json() == R"({"verdict":"nothing else"})");
}

TEST_CASE("parameters reach the members, absent ones keep their values") {
  const auto given = hatch::testing::run<Everything>({{"text", "x\"\n"},
                                                      {"yes", false},
                                                      {"number", 9},
                                                      {"ratio", -0.25},
                                                      {"words", std::vector<std::string>{"a,]", "\"\\", ""}},
                                                      {"numbers", std::vector<int>{1, 2, 3}}});
  REQUIRE(given.status == HATCH_OK);
  CHECK(given.member("verdict") == "did it");
  CHECK(given.member("text") == "x\"\n");
  CHECK(given.member("yes") == "false");
  CHECK(given.member("number") == "9");
  CHECK(given.member("ratio") == "-0.25");
  CHECK(given.member("words") == R"(["a,]","\"\\",""])");
  CHECK(given.member("sum") == "6");
  CHECK(given.member("nothing").empty());
  CHECK(given.renderings.at("text") == "did it, nicely");

  const auto defaults = hatch::testing::run<Everything>();
  CHECK(defaults.member("text") == "a");
  CHECK(defaults.member("ratio") == "1.5");
  CHECK(defaults.member("all") == "{}");
}

TEST_CASE("a parameter that does not fit is the plugin's bug, not a crash") {
  const auto answer = hatch::testing::run<Everything>({{"number", "many"}});
  CHECK(answer.status == HATCH_BROKEN);
  CHECK(answer.failure.detail == "the plugin met its own bug: parameter number does not fit its member");
  CHECK(hatch::testing::run<Everything>({{"words", "[\"a\""}}).status == HATCH_BROKEN);
}

TEST_CASE("the schema that the visitor writes") {
  const hatch_hatch& hatch = *described()->hatches[0];
  CHECK(
      std::string(hatch.parameters) ==
      R"({"type":"object","properties":{)"
      R"("text":{"type":"string","description":"Text","minLength":1,"maxLength":3,"pattern":"[a-z]+","secret":true},)"
      R"("yes":{"type":"boolean","description":"Yes","default":true,"x-effect":"disrupt"},)"
      R"("number":{"type":"integer","description":"Number","default":1,"minimum":0,"maximum":9,"x-effect":{"7":"act"}},)"
      R"("ratio":{"type":"number","description":"Ratio","default":1.5},)"
      R"("words":{"type":"array","items":{"type":"string"},"description":"Words","default":[]},)"
      R"("numbers":{"type":"array","items":{"type":"number"},"description":"Numbers","default":[]}},)"
      R"("required":["text"],"additionalProperties":false})");
}

TEST_CASE("the description that HATCH_PLUGIN gives") {
  const hatch_plugin* plugin = described();
  REQUIRE(plugin);
  CHECK(plugin->magic == HATCH_ABI_MAGIC);
  CHECK(plugin->size == sizeof(hatch_plugin));
  CHECK(plugin->hatches[2] == nullptr);
  const hatch_hatch& everything = *plugin->hatches[0];
  CHECK(everything.size == sizeof(hatch_hatch));
  CHECK(std::string(everything.kind) == "special");
  CHECK(everything.timeout_ms == 5000);
  CHECK(everything.max_pause_us == 2000);
  CHECK(everything.effect == HATCH_ACT);
  CHECK(std::string(everything.capabilities[0]) == "sys_ptrace");
  CHECK(everything.capabilities[1] == nullptr);
  CHECK(everything.renderings == nullptr);
  CHECK(everything.preflight == nullptr);
}

TEST_CASE("nothing that is thrown gets past the barrier") {
  const auto failure = hatch::testing::run<Throws<How::failure>>();
  CHECK(failure.status == HATCH_FAILED);
  CHECK(failure.failure.code == "run-failed");
  CHECK(failure.failure.detail == "no");
  CHECK(failure.member("verdict") == "half");
  const auto rights = hatch::testing::run<Throws<How::rights>>();
  CHECK(rights.status == HATCH_FAILED);
  CHECK(rights.failure.code == "rights-missing");
  CHECK(rights.failure.missing == std::vector<std::string>{"a", "b"});
  CHECK(rights.failure.remedy == "ask");
  CHECK(hatch::testing::run<Throws<How::cancelled>>().status == HATCH_CANCELLED);
  const auto bug = hatch::testing::run<Throws<How::bug>>();
  CHECK(bug.status == HATCH_BROKEN);
  CHECK(bug.failure.detail == "the plugin met its own bug: index");
  CHECK(hatch::testing::run<Throws<How::integer>>().status == HATCH_BROKEN);
}

TEST_CASE("waiting ends when its time is up, and with the run") {
  FakeHost host;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    host.cancel();
  });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(host.run<Waits>().status == HATCH_CANCELLED);
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(90));
  canceller.join();
}

TEST_CASE("the fake host records what a run says and does") {
  FakeHost host;
  host.process(::getpid()).file(HATCH_FILE_ENVIRONMENT, "A=1").profile(R"({"password": "x"})");
  const auto answer = host.run<Talks>();
  REQUIRE(answer.status == HATCH_OK);
  CHECK(answer.progress == std::vector<std::pair<std::uint32_t, std::string>>{{2500, "a quarter"}, {10000, ""}});
  REQUIRE(answer.logs.size() == 1);
  CHECK(answer.logs[0].message == "oops");
  CHECK(answer.output == "output");
  CHECK(answer.artifacts == std::map<std::string, std::string>{{"kept.txt", "whole"}});
  CHECK(answer.aborted == std::vector<std::string>{"lost.txt"});
  CHECK(answer.pauses == 1);
  CHECK_FALSE(answer.pause_left_open);
  CHECK(answer.dropped_rights);
  CHECK(answer.member("pid") == std::to_string(::getpid()));
  CHECK(answer.member("environment") == "A=1");
  CHECK(answer.member("log") == std::to_string(-ENOENT));
  CHECK(answer.member("profile") == R"({"password": "x"})");
  CHECK(answer.member("steps") == R"([{"name":"one","ms":1.5,"ok":true}])");

  host.no_space();
  const auto full = host.run<Talks>();
  CHECK(full.status == HATCH_FAILED);
  CHECK(full.failure.detail == "artifact lost.txt: No space left on device");
}
