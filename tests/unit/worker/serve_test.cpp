// The plugin process with a plugin that behaves: what a run gets, what is refused, how the process ends.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/json.hpp"
#include "catch.hpp"
#include "link/receive.hpp"
#include "plugin_under_test.hpp"

using namespace hatchd;
namespace json = boost::json;

TEST_CASE("parameters of every type, defaults, configuration and profile") {
  PluginUnderTest plugin{
      "probe", {{"configuration", {{"colour", "green"}}}, {"profiles", {{"a", {{"password", "x1"}}}, {"b", {}}}}}};
  Seen seen = plugin.run("probe.echo",
                         {{"text", "h\u00e9llo \"\n\x01"},
                          {"yes", true},
                          {"number", -7},
                          {"ratio", 2.25},
                          {"words", {"a,b", "", "\xF0\x9F\x98\x80"}},
                          {"numbers", {1, -2}}},
                         {{"profile", "a"}, {"format", "text"}});
  REQUIRE(seen.state() == "succeeded");
  CHECK_FALSE(seen.outcome.problem());
  const json::object result = seen.result();
  CHECK(result.at("text") == "h\u00e9llo \"\n\x01");
  CHECK(result.at("yes") == true);
  CHECK(result.at("number") == -7);
  CHECK(result.at("ratio") == 2.25);
  CHECK(result.at("words") == json::array{"a,b", "", "\xF0\x9F\x98\x80"});
  CHECK(result.at("numbers") == json::array{1, -2});
  CHECK(result.at("params").at("secret") == "");
  // The hatch has it, and what it says of it is masked.
  CHECK(result.at("profile") == json::object{{"password", "******"}});
  CHECK(result.at("profile_size") == std::string_view(R"({"password":"x1"})").size());
  CHECK(result.at("configuration") == json::object{{"colour", "green"}});
  CHECK(result.at("caller").at("name") == "tester");
  CHECK(result.at("format") == "text");
  CHECK(text_of(result, "id") == plugin.last_id);
  CHECK(seen.outcome.verdict() == "you said: h\u00e9llo \"\n\x01");
}

TEST_CASE("what the front names is checked again") {
  PluginUnderTest plugin{
      "probe", {{"hatches", {{"probe.echo", {{"timeout_ms", 1000}}}, {"probe.target", {{"timeout_ms", 1000}}}}}}};
  struct Case {
    const char* hatch;
    json::object params, start;
    const char* code;
  };
  const auto refused = [&](const char* hatch, json::object params, json::object start) {
    Seen seen = plugin.run(hatch, std::move(params), std::move(start));
    REQUIRE(seen.refused);
    return *seen.refused;
  };
  CHECK(refused("probe.nothing", {}, {}).code == "hatch-unknown");
  CHECK(refused("probe.steps", {}, {}).code == "hatch-disabled");
  CHECK(refused("probe.echo", {}, {{"target", "web"}}).code == "params-invalid");
  CHECK(refused("probe.echo", {}, {{"profile", "none"}}).code == "params-invalid");
  CHECK(refused("probe.target", {}, {}).code == "target-required");
  CHECK(refused("probe.target", {}, {{"target", "db"}}).code == "target-unknown");
  const Problem wrong = refused("probe.echo", {{"number", 5000}, {"txt", "a"}}, {});
  CHECK(wrong.code == "params-invalid");
  CHECK(wrong.errors.size() == 2);
  CHECK(plugin.run("probe.echo").state() == "succeeded");
}

TEST_CASE("artifacts are written, adopted and given up") {
  PluginUnderTest plugin{"probe"};
  Seen seen = plugin.run("probe.artifact");
  REQUIRE(seen.state() == "succeeded");
  CHECK(seen.artifacts ==
        std::map<std::string, std::string>{{"written.txt", "written by the hatch\n"}, {"adopted.txt", "adopted\n"}});
  CHECK(seen.aborted == 1);
}

TEST_CASE("the default rendering shows verdict, steps, hint and members, printable") {
  PluginUnderTest plugin{"probe"};
  Seen seen = plugin.run("probe.steps");
  REQUIRE(seen.state() == "succeeded");
  CHECK(seen.rendering("text") ==
        "two of three worked\n"
        "  connect    1.2 ms  ok      127.0.0.1:25\n"
        "  hello     12.5 ms  ok\n"
        "  send     100.0 ms  FAILED  refused: \xEF\xBF\xBD[31mred\xEF\xBF\xBD[0m\n"
        "hint: try again\n"
        "  partial: true\n"
        "  reply:\n"
        "    250 ok\n"
        "    bye\n"
        "  list:\n"
        "    - name: a\n"
        "      size: 1\n"
        "    - name: b\n"
        "      size: 2\n"
        "  nothing: -\n");
  CHECK(seen.events.at(0).at("event") == "progress");
  CHECK(seen.events.at(0).at("permyriad") == 5000);
}

TEST_CASE("output arrives in whole characters, and a flood is cut with a notice") {
  PluginUnderTest plugin{"probe"};
  SECTION("a little") {
    Seen seen = plugin.run("probe.output");
    REQUIRE(seen.events.size() == 5);  // "caf" waits for the rest of its line
    CHECK(seen.events[0].at("level") == "warning");
    CHECK(seen.events[0].at("message") == "a warning\xEF\xBF\xBD[2J");
    std::string output;
    for (const json::object& event : seen.events) output += text_of(event, "text");
    CHECK(output == "caf\u00e9\nline 0\nline 1\nline 2\n");
  }
  SECTION("a lot at once") {
    Seen seen = plugin.run("probe.output", {{"lines", 0}, {"at_once", 300'000}});
    std::string output;
    for (const json::object& event : seen.events) {
      CHECK(text_of(event, "text").size() <= link::max_output);
      output += text_of(event, "text");
    }
    CHECK(output == "caf\u00e9\n" + std::string(300'000, 'x') + "\n");
  }
  SECTION("a flood") {
    Seen seen = plugin.run("probe.output", {{"lines", 12'000}});
    CHECK(seen.state() == "succeeded");
    CHECK(seen.events.size() == 10'001);
    CHECK(text_of(seen.events.back(), "message").find("events were dropped") != std::string::npos);
  }
}

TEST_CASE("failures") {
  PluginUnderTest plugin{"probe"};
  SECTION("plain") {
    Seen seen = plugin.run("probe.fail");
    CHECK(seen.state() == "failed");
    CHECK(seen.code() == "run-failed");
    CHECK(seen.detail() == "it did not work");
  }
  SECTION("rights") {
    Seen seen = plugin.run("probe.fail", {{"how", "rights"}});
    CHECK(seen.state() == "failed");
    REQUIRE(seen.outcome.problem());
    CHECK(seen.outcome.problem()->code == "rights-missing");
    CHECK(seen.outcome.problem()->missing == std::vector<std::string>{"CAP_SYS_PTRACE"});
    CHECK(seen.outcome.problem()->remedy == "grant sys_ptrace to the plugin");
  }
  SECTION("its own bug") {
    Seen seen = plugin.run("probe.fail", {{"how", "bug"}});
    CHECK(seen.state() == "failed");
    CHECK(seen.detail() == "the plugin met its own bug: an index out of range");
  }
  SECTION("with the result as far as it came") {
    Seen seen = plugin.run("probe.fail", {{"how", "partway"}});
    CHECK(seen.state() == "failed");
    CHECK(seen.result().at("stage") == "rcpt");
    CHECK(seen.rendering("text") == "came half way\n  stage: rcpt\n");
  }
}

TEST_CASE("preflight") {
  PluginUnderTest plugin{"probe"};
  Seen without = plugin.run("probe.echo", {}, {{"preflight", true}});
  CHECK(without.state() == "succeeded");
  CHECK(without.result() == json::object{{"verdict", "ready"}, {"ready", true}});
  CHECK(plugin.run("probe.fail", {}, {{"preflight", true}}).result().at("verdict") == "would fail as asked");
  Seen missing = plugin.run("probe.fail", {{"how", "rights"}}, {{"preflight", true}});
  CHECK(missing.code() == "rights-missing");
  CHECK(missing.detail() == "would not be let in");
}

TEST_CASE("a target arrives with its processes and the files that the flags declare") {
  PluginUnderTest plugin{"probe"};
  plugin.target_processes = 2;
  Seen seen = plugin.run("probe.target", {}, {{"target", "web"}, {"processes", "all"}});
  REQUIRE(seen.state() == "succeeded");
  const json::object result = seen.result();
  const json::array& processes = result.at("processes").as_array();
  REQUIRE(processes.size() == 2);
  CHECK(processes[0].at("pid") == ::getpid());
  CHECK(processes[0].at("ticks") == 77);
  CHECK(processes[0].at("main") == 1);
  CHECK(std::string(processes[0].at("stat").as_string()).find(std::to_string(::getpid()) + " (") == 0);
  CHECK(processes[0].at("files") == json::array{"content of environment", "content of resolv.conf", -ENOENT,
                                                "content of nsswitch.conf", "content of log"});
  CHECK(processes[1].at("files") == json::array{"content of environment", -EACCES, -EACCES, -EACCES, -EACCES});
  CHECK(result.at("max_pause_us") == 200'000);
  CHECK(result.at("held_us").as_int64() >= 20'000);
  CHECK(seen.outcome.longest_pause_us() == result.at("held_us"));
  CHECK(seen.started.at("target").at("name") == "web");
  CHECK(seen.started.at("target").at("pid") == ::getpid());
}

TEST_CASE("without a flag there is no file") {
  PluginUnderTest plugin{"probe"};
  Seen seen = plugin.run("probe.flagless", {}, {{"target", "web"}});
  REQUIRE(seen.state() == "succeeded");
  const json::object result = seen.result();
  for (const char* name : {"environment", "log", "hosts"}) CHECK(result.at(name) == -EACCES);
  CHECK(result.at("unknown") == -EINVAL);
  CHECK(result.at("stream") == -1);
  CHECK(result.at("extension") == false);
  CHECK(plugin.run("probe.flagless").result().at("environment") == -ESRCH);  // no target at all
}

TEST_CASE("when targets goes away, a run that waits for it is refused and the next works") {
  PluginUnderTest plugin{"probe"};
  plugin.targets_answer = false;
  const std::string id = plugin.start("probe.target", {}, {{"target", "web"}});
  plugin.targets.close();
  Seen seen = plugin.finish(id);
  REQUIRE(seen.refused);
  CHECK(seen.refused->code == "internal");
  auto [ours, theirs] = link::Channel::pair();
  const int fd = theirs.get();
  plugin.process.channel.send("targets", {}, {&fd, 1});
  plugin.targets = link::Channel{std::move(ours)};
  plugin.targets_answer = true;
  // The two channels are not ordered among each other.
  bool works = false;
  for (int i = 0; i < 500 && !works; ++i) {
    Seen again = plugin.run("probe.target", {}, {{"target", "web"}});
    works = !again.refused && again.state() == "succeeded";
    if (!works) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(works);
}

TEST_CASE("a run has its own session, name and few descriptors") {
  PluginUnderTest plugin{"probe"};
  Seen seen = plugin.run("probe.environment");
  REQUIRE(seen.state() == "succeeded");
  const json::object result = seen.result();
  CHECK(result.at("pid") == seen.started.at("pid"));
  CHECK(result.at("session") == result.at("pid"));
  CHECK(result.at("group") == result.at("pid"));
  CHECK(result.at("parent") == plugin.process.pid);
  // stdin, stdout, stderr, the run channel and the cancellation; the one that reads /proc is closed again.
  CHECK(result.at("descriptors").as_array().size() == 5);
  CHECK(std::string(result.at("title").as_string()).find("hatchd: run ") == 0);
}

namespace {

// The process that waits for the next run: the only child that is left.
pid_t spare_of(const PluginUnderTest& plugin) {
  const std::string number = std::to_string(plugin.process.pid);
  for (int i = 0; i < 2000; ++i) {
    pid_t pid = -1;
    std::ifstream("/proc/" + number + "/task/" + number + "/children") >> pid;
    std::string title;
    std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/cmdline") >> std::ws, title);
    if (title.starts_with("hatchd: spare probe")) return pid;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return -1;
}

}  // namespace

TEST_CASE("the next run gets the process that was forked ahead, and all that a forked one gets") {
  PluginUnderTest plugin{"probe"};
  plugin.target_processes = 2;
  const json::object target{{"target", "web"}, {"processes", "all"}};
  json::object first = plugin.run("probe.target", {}, target).result();
  const pid_t spare = spare_of(plugin);
  REQUIRE(spare > 0);
  Seen seen = plugin.run("probe.target", {}, target);
  REQUIRE(seen.state() == "succeeded");
  CHECK(seen.started.at("pid") == spare);
  json::object second = seen.result();
  for (json::object* result : {&first, &second}) {  // but for what is of its moment
    result->erase("held_us");
    for (json::value& process : result->at("processes").as_array()) process.as_object().erase("stat");
  }
  CHECK(first == second);

  REQUIRE(spare_of(plugin) > 0);
  seen = plugin.run("probe.environment");
  CHECK(seen.result().at("session") == seen.result().at("pid"));
  CHECK(seen.result().at("parent") == plugin.process.pid);
  CHECK(seen.result().at("descriptors").as_array().size() == 5);
  CHECK(std::string(seen.result().at("title").as_string()).find("hatchd: run ") == 0);
}

TEST_CASE("a spare that was killed is no run's misfortune") {
  PluginUnderTest plugin{"probe"};
  CHECK(plugin.run("probe.echo").state() == "succeeded");
  const pid_t spare = spare_of(plugin);
  REQUIRE(spare > 0);
  ::kill(spare, SIGKILL);
  const auto gone = [&] { return ::access(("/proc/" + std::to_string(spare)).c_str(), F_OK) != 0; };
  for (int i = 0; i < 2000 && !gone(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  REQUIRE(gone());
  CHECK(plugin.run("probe.echo").state() == "succeeded");
}

TEST_CASE("a run has the capabilities that its hatch declares, until it drops them") {
  if (::geteuid() != 0) return;  // others have no capability to look at
  PluginUnderTest plugin{"probe", {{"rights", {{"capabilities", {"sys_ptrace", "kill"}}}}}};
  Seen seen = plugin.run("probe.rights");
  REQUIRE(seen.state() == "succeeded");
  const json::object result = seen.result();
  const json::string kill_and_ptrace{"0000000000080020"}, only_kill{"0000000000000020"}, nothing{"0000000000000000"};
  CHECK(result.at("before").at("CapEff") == kill_and_ptrace);
  CHECK(result.at("before").at("CapPrm") == kill_and_ptrace);
  CHECK(result.at("before").at("CapInh") == nothing);
  CHECK(result.at("before").at("NoNewPrivs") == "1");
  CHECK(result.at("before").at("Seccomp") == "2");
  CHECK(result.at("after").at("CapEff") == nothing);
  CHECK(result.at("after").at("CapPrm") == nothing);
  CHECK(plugin.run("probe.fewer-rights").result().at("now").at("CapPrm") == only_kill);
  CHECK(plugin.run("probe.echo").state() == "succeeded");
}

TEST_CASE("rights can be dropped without having any") {
  PluginUnderTest plugin{"probe"};
  Seen seen = plugin.run("probe.rights");
  REQUIRE(seen.state() == "succeeded");
  CHECK(seen.result().at("before").at("CapEff") == "0000000000000000");
  CHECK(seen.result().at("after").at("Seccomp") == "2");
}

TEST_CASE("large results and other renderings") {
  // Seventy megabytes are laid out letter by letter: seconds, or on a busy machine without optimisation a minute.
  PluginUnderTest plugin{"probe", {{"hatches", {{"probe.big", {{"timeout_ms", 150'000}}}}}}};
  Seen seen = plugin.run("probe.big", {{"bytes", 5'000'000}});
  REQUIRE(seen.state() == "succeeded");
  CHECK(seen.outcome.result().size() > 5'000'000);
  CHECK(seen.rendering("folded") == "a;b 1\n");
  CHECK(seen.rendering("text").find("long\n") == 0);
  Seen too_large = plugin.run("probe.big", {{"bytes", 70'000'000}});
  CHECK(too_large.state() == "failed");
  CHECK(too_large.detail() == "the plugin returned an invalid result: more than 64 MiB");
}

TEST_CASE("an interactive hatch gets the terminal's socket") {
  PluginUnderTest plugin{"probe"};
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  UniqueFd ours{ends[0]}, theirs{ends[1]};
  const std::string id = plugin.start("probe.console", {}, {}, theirs.get());
  theirs.reset();
  REQUIRE(::write(ours.get(), "hello", 5) == 5);
  char answer[5];
  REQUIRE(::recv(ours.get(), answer, 5, MSG_WAITALL) == 5);
  CHECK(std::string(answer, 5) == "HELLO");
  ours.reset();
  Seen seen = plugin.finish(id);
  CHECK(seen.state() == "succeeded");
  CHECK(seen.result().at("bytes") == 5);
}

TEST_CASE("more than 64 runs at once are refused") {
  PluginUnderTest plugin{"slow"};
  std::vector<std::string> ids;
  for (int i = 0; i < 64; ++i) ids.push_back(plugin.start("broken.slow"));
  Seen one_more = plugin.run("broken.slow");
  REQUIRE(one_more.refused);
  CHECK(one_more.refused->code == "busy");
  for (const std::string& id : ids) plugin.cancel(id);
  for (const std::string& id : ids) CHECK(plugin.finish(id).state() == "cancelled");
}

TEST_CASE("how the plugin process ends") {
  SECTION("by itself, when idle") {
    PluginUnderTest plugin{"probe", {{"idle_ms", 1000}}};
    CHECK(plugin.run("probe.echo").state() == "succeeded");
    CHECK(plugin.process.end() == "exit status 10");
  }
  SECTION("not while a run lives") {
    PluginUnderTest plugin{"slow", {{"idle_ms", 1000}}};
    const std::string id = plugin.start("broken.slow");
    CHECK(plugin.process.end(2000) == "running");
    plugin.cancel(id);
    CHECK(plugin.finish(id).state() == "cancelled");
    CHECK(plugin.process.end() == "exit status 10");
  }
  SECTION("when it is told to, after its runs") {
    PluginUnderTest plugin{"slow"};
    // The two channels are not ordered among each other, so it is told once the run is there.
    Seen seen = plugin.run("broken.slow", {}, {}, [&](const std::string& event) {
      if (event == "progress") plugin.process.channel.send("stop", {{"grace_ms", 10'000}});
    });
    CHECK(seen.state() == "cancelled");
    CHECK(plugin.process.end() == "exit status 0");
  }
  SECTION("with its runs, when the front goes") {
    PluginUnderTest plugin{"hangs"};
    const std::string id = plugin.start("broken.hangs");
    link::Message started;
    REQUIRE(plugin.front.wait(started, 20'000) == link::Received::message);
    const auto run = static_cast<pid_t>(started.body.at("pid").as_int64());
    plugin.front.close();
    CHECK(plugin.process.end() == "exit status 11");
    CHECK(::kill(run, 0) == -1);
  }
  SECTION("with its runs, when the supervisor goes") {
    PluginUnderTest plugin{"hangs"};
    plugin.process.channel.close();
    CHECK(plugin.process.end() == "exit status 11");
  }
  SECTION("a run dies with its plugin process") {
    PluginUnderTest plugin{"hangs", {{"hatches", {{"broken.hangs", {{"timeout_ms", 60'000}}}}}}};
    plugin.start("broken.hangs");
    link::Message started;
    REQUIRE(plugin.front.wait(started, 20'000) == link::Received::message);
    const auto run = static_cast<pid_t>(started.body.at("pid").as_int64());
    ::kill(plugin.process.pid, SIGKILL);
    CHECK(plugin.process.end() == "signal 9 (SIGKILL)");
    bool gone = false;
    for (int i = 0; i < 2000 && !gone; ++i) {
      // Killed, but perhaps not reaped: whoever adopted it decides when.
      auto stat = hatchd::read_file_at(AT_FDCWD, ("/proc/" + std::to_string(run) + "/stat").c_str(), 4096);
      gone = !stat || stat->find(") Z ") != std::string::npos;
      if (!gone) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK(gone);
  }
}

TEST_CASE("a hatch that looks first waits for leave to act, and does without where nobody records it") {
  PluginUnderTest plugin{"files",
                         {{"hatches", {{"files.look-then-mark", {{"timeout_ms", 60'000}}}, {"files.mark", {}}}}}};
  char path[] = "/tmp/hatchd-act-XXXXXX";
  const UniqueFd made{::mkstemp(path)};
  const Defer remove{[&] { ::unlink(path); }};
  const auto content = [&] {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const json::object params{{"path", path}};
  const auto until_it_looked = [&] {
    while (content().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(content() == "look\n");
  };

  SECTION("nobody records it") {
    CHECK(plugin.run("files.look-then-mark", params).state() == "succeeded");
    CHECK(content() == "look\nmark\n");
  }
  SECTION("told to act") {
    const std::string id = plugin.start("files.look-then-mark", params, {{"recording", true}});
    until_it_looked();
    plugin.to_run(id, "act");
    CHECK(plugin.finish(id).state() == "succeeded");
    CHECK(content() == "look\nmark\n");
  }
  SECTION("cancelled") {
    const std::string id = plugin.start("files.look-then-mark", params, {{"recording", true}});
    until_it_looked();
    plugin.cancel(id);
    CHECK(plugin.finish(id).state() == "cancelled");
    CHECK(content() == "look\n");
  }
  SECTION("one that does not wait is not begun early") {
    CHECK(plugin.run("files.mark", params, {{"recording", true}}).refused->code == "internal");
    CHECK(content().empty());
  }
}
