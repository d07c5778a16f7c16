// The whole process: a forked child lowers its rights and serves over a channel, as under the supervisor.
#include <poll.h>
#include <sys/socket.h>

#include <boost/json.hpp>
#include <chrono>
#include <memory>

#include "base/json.hpp"
#include "catch.hpp"
#include "link/channel.hpp"
#include "link/protocol.hpp"
#include "processes.hpp"
#include "targets/targets.hpp"

using namespace hatchd;
using namespace test;
namespace json = boost::json;

namespace {

// Under root hatchd and its target both become this user; else they stay who they are.
constexpr uid_t nobody = 65534;

class Targets {
 public:
  explicit Targets(json::object configured, json::array capabilities = {}) {
    auto [ours, theirs] = link::Channel::pair();
    auto [front, front_end] = link::Channel::pair();
    supervisor = link::Channel(std::move(ours));
    front_ = link::Channel(std::move(front));
    json::object rights{{"capabilities", std::move(capabilities)}};
    if (::getuid() == 0) {
      rights["uid"] = nobody;
      rights["gid"] = nobody;
    }
    REQUIRE(supervisor.send("setup", {{"role", "targets"}, {"rights", rights}, {"targets", std::move(configured)}},
                            std::vector<int>{front_end.get()}));
    process_ = std::make_unique<Child>(start([&] {
      // Forked without exec: the ends of the test must not stay open in here.
      supervisor.close();
      front_.close();
      front_end.reset();
      link::Channel channel{std::move(theirs)};
      link::Message setup;
      if (channel.wait(setup, 5000) != link::Received::message) ::_exit(96);
      ::_exit(hatchd::targets::serve(channel, setup));
    }));
    theirs.reset();
    front_end.reset();
    link::Message message;
    REQUIRE(supervisor.wait(message, 5000) == link::Received::message);
    CAPTURE(json::serialize(message.body));
    REQUIRE(message.type == "ready");
  }

  link::Channel client(json::object how) {
    auto [ours, theirs] = link::Channel::pair();
    REQUIRE(supervisor.send("serve", std::move(how), std::vector<int>{theirs.get()}));
    return link::Channel(std::move(ours));
  }
  link::Channel plugin(bool all = true) {
    return client({{"as", "plugin"},
                   {"plugin", "test"},
                   {"targets", {"it", "planted", "none"}},
                   {"environment", all},
                   {"log", all}});
  }
  link::Channel& front() { return front_; }
  int exit_status() {
    const int status = process_->wait();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  link::Channel supervisor;

 private:
  link::Channel front_;
  std::unique_ptr<Child> process_;
};

link::Message ask(link::Channel& channel, std::string_view type, json::object body) {
  body["tag"] = 7;
  REQUIRE(channel.send(type, std::move(body)));
  link::Message answer;
  REQUIRE(channel.wait(answer, 5000) == link::Received::message);
  CHECK(number_of(answer.body, "tag") == 7);
  return answer;
}

std::string code_of(const link::Message& answer) {
  const json::object* problem = object_of(answer.body, "problem");
  return answer.type == "refused" && problem ? text_of(*problem, "code") : answer.type;
}

json::object file_request(const link::Message& opened, std::string_view file, std::string_view target = "it") {
  const json::object& process = array_of(opened.body, "processes")->front().get_object();
  return {
      {"target", target}, {"pid", process.at("pid")}, {"started_ticks", process.at("started_ticks")}, {"file", file}};
}

}  // namespace

TEST_CASE("targets: list, open and the end of the target") {
  Child child = exec({"/bin/sleep", "1000"}, nobody);
  Targets targets(
      {{"it", {{"pid", child.pid()}}}, {"none", {{"exe", "/nonexistent"}}}, {"secret", {{"pid", child.pid()}}}});

  const link::Message all = ask(targets.front(), "list", {});
  REQUIRE(all.type == "listed");
  REQUIRE(array_of(all.body, "targets")->size() == 3);

  const link::Message listed = ask(targets.front(), "list", {{"target", "it"}});
  const json::object& target = array_of(listed.body, "targets")->at(0).get_object();
  CHECK(text_of(target, "state") == "up");
  CHECK(number_of(target, "counted") == 1);
  CHECK(number_of(target.at("match").get_object(), "pid") == child.pid());
  CHECK(text_of(target.at("processes").at(0).get_object(), "name") == "sleep");
  CHECK(array_of(ask(targets.front(), "list", {{"target", "unheard of"}}).body, "targets")->empty());

  link::Channel plugin = targets.plugin();
  CHECK(array_of(ask(plugin, "list", {}).body, "targets")->size() == 2);  // "secret" is not for it
  CHECK(code_of(ask(plugin, "open", {{"target", "secret"}})) == "target-unknown");
  CHECK(code_of(ask(plugin, "open", {{"target", "none"}})) == "target-gone");

  const link::Message opened = ask(plugin, "open", {{"target", "it"}, {"processes", "all"}});
  REQUIRE(opened.type == "opened");
  CHECK(text_of(opened.body, "target") == "it");
  REQUIRE(opened.fds.size() == 2);
  pollfd ended{opened.fds[0].get(), POLLIN, 0};
  CHECK(::poll(&ended, 1, 0) == 0);
  CHECK(read_file_at(opened.fds[1].get(), "comm", 100).value() == "sleep\n");
  CHECK(ask(plugin, "open", {{"target", "it"}, {"processes", std::to_string(child.pid())}}).fds.size() == 2);
  CHECK(code_of(ask(plugin, "open", {{"target", "it"}, {"processes", "1"}})) == "target-gone");

  child.end();
  CHECK(::poll(&ended, 1, 20'000) == 1);
  const link::Message gone = ask(plugin, "open", {{"target", "it"}});
  CHECK(code_of(gone) == "target-gone");
  CHECK_FALSE(text_of(*object_of(gone.body, "problem"), "remedy").empty());
  CHECK(code_of(ask(plugin, "file", file_request(opened, "environment"))) == "target-gone");

  REQUIRE(targets.supervisor.send("stop", {{"grace_ms", 100}}));
  CHECK(targets.exit_status() == 0);
}

TEST_CASE("targets: another configuration is there for whoever asks after it was sent") {
  const Child child = exec({"/bin/sleep", "1000"}, nobody);
  const json::object matcher{{"pid", child.pid()}};
  Targets targets({{"it", matcher}});
  for (int i = 0; i < 50; ++i) {
    const std::string name = "next" + std::to_string(i);
    REQUIRE(targets.supervisor.send("configure", {{"targets", json::object{{"it", matcher}, {name, matcher}}}}));
    const link::Message listed = ask(targets.front(), "list", {{"target", name}});
    REQUIRE(array_of(listed.body, "targets")->size() == 1);
  }
  CHECK(array_of(ask(targets.front(), "list", {}).body, "targets")->size() == 2);
}

TEST_CASE("targets: files of a target") {
  const Folder folder;
  const std::string log = folder.write("app.log", "a line\n");
  if (::getuid() == 0) REQUIRE(::chown(log.c_str(), nobody, nobody) == 0);
  std::filesystem::create_symlink(log, folder / "planted.log");
  ::setenv("HATCHD_TEST_MARK", "42", 1);
  const Child child = exec({"/bin/sleep", "1000"}, nobody);
  Targets targets({{"it", {{"pid", child.pid()}, {"log", {{"file", log}}}}},
                   {"planted", {{"pid", child.pid()}, {"log", {{"file", folder / "planted.log"}}}}}});
  link::Channel plugin = targets.plugin();
  const link::Message opened = ask(plugin, "open", {{"target", "it"}});
  REQUIRE(opened.type == "opened");

  const link::Message environment = ask(plugin, "file", file_request(opened, "environment"));
  REQUIRE(environment.type == "file");
  CHECK(read_all(environment.fds.at(0).get(), 1 << 20).value().find("HATCHD_TEST_MARK=42") != std::string::npos);

  const link::Message hosts = ask(plugin, "file", file_request(opened, "hosts"));
  REQUIRE(hosts.type == "file");
  CHECK((::fcntl(hosts.fds.at(0).get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
  CHECK(code_of(ask(plugin, "file", file_request(opened, "shadow"))) == "run-failed");

  SECTION("a log of the target's user") {
    const link::Message answer = ask(plugin, "file", file_request(opened, "log"));
    CAPTURE(json::serialize(answer.body));
    REQUIRE(answer.type == "file");
    CHECK(read_all(answer.fds.at(0).get(), 100).value() == "a line\n");
  }
  SECTION("a log that may have been planted") {
    CHECK(code_of(ask(plugin, "file", file_request(opened, "log", "planted"))) == "run-failed");
    std::filesystem::create_hard_link(log, folder / "second name");
    CHECK(code_of(ask(plugin, "file", file_request(opened, "log"))) == "run-failed");
    std::filesystem::remove(log);
    REQUIRE(::mkfifo(log.c_str(), 0666) == 0);
    CHECK(code_of(ask(plugin, "file", file_request(opened, "log"))) == "run-failed");
  }
  SECTION("only what a hatch of the plugin declares") {
    link::Channel modest = targets.plugin(false);
    CHECK(code_of(ask(modest, "file", file_request(opened, "environment"))) == "rights-missing");
    CHECK(code_of(ask(modest, "file", file_request(opened, "log"))) == "rights-missing");
    CHECK(ask(modest, "file", file_request(opened, "hosts")).type == "file");
  }
  SECTION("only of the target's own processes") {
    json::object other = file_request(opened, "environment");
    other["pid"] = ::getpid();
    CHECK(code_of(ask(plugin, "file", other)) == "target-gone");
  }
}

TEST_CASE("targets: a log that the target has open is its log, whatever leads to it") {
  const Folder folder;
  const std::string log = folder.write("app.log", "a line\n");
  if (::getuid() == 0) REQUIRE(::chown(log.c_str(), nobody, nobody) == 0);
  std::filesystem::create_symlink(log, folder / "current.log");
  const Child child = exec({"/bin/sh", "-c", "exec sleep 1000 3>>" + log}, nobody);
  REQUIRE(eventually([&] { return std::filesystem::exists("/proc/" + std::to_string(child.pid()) + "/fd/3"); }));
  Targets targets({{"it", {{"pid", child.pid()}, {"log", {{"file", folder / "current.log"}}}}}});
  link::Channel plugin = targets.plugin();
  const link::Message opened = ask(plugin, "open", {{"target", "it"}});
  CHECK(ask(plugin, "file", file_request(opened, "log")).type == "file");
}

TEST_CASE("targets: without rights a process of others is still opened, its secrets are not") {
  if (::getuid() != 0) return;  // takes two users
  const Child child = exec({"/bin/sleep", "1000"});
  Targets targets({{"it", {{"pid", child.pid()}}}});
  link::Channel plugin = targets.plugin();
  const link::Message opened = ask(plugin, "open", {{"target", "it"}});
  REQUIRE(opened.type == "opened");
  CHECK(opened.fds.size() == 2);
  const json::object& process = array_of(opened.body, "processes")->at(0).get_object();
  CHECK(text_of(process, "name") == "sleep");
  CHECK_FALSE(process.contains("executable"));
  CHECK(text_of(process, "runtime") == "unknown");
  const link::Message refused = ask(plugin, "file", file_request(opened, "environment"));
  CHECK(code_of(refused) == "rights-missing");
  const auto missing = texts_of(*object_of(refused.body, "problem"), "missing");
  CHECK(missing == std::vector<std::string>{"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or the user id 0"});
}

TEST_CASE("targets: with capabilities it looks into processes of others, and must know whose they are") {
  if (::getuid() != 0) return;  // takes capabilities
  const Child child = exec({"/bin/sleep", "1000"});
  Targets targets({{"it", {{"pid", child.pid()}}}, {"none", {{"name", "sleep"}}}}, {"sys_ptrace", "dac_read_search"});
  link::Channel plugin = targets.plugin();
  const link::Message opened = ask(plugin, "open", {{"target", "it"}});
  REQUIRE(opened.type == "opened");
  CHECK(text_of(array_of(opened.body, "processes")->at(0).get_object(), "runtime") == "native");
  CHECK(ask(plugin, "file", file_request(opened, "environment")).type == "file");
  const link::Message refused = ask(plugin, "open", {{"target", "none"}});
  CHECK(code_of(refused) == "target-gone");
  CHECK(text_of(*object_of(refused.body, "problem"), "detail").find("\"user\"") != std::string::npos);
}

TEST_CASE("targets: who listens on a port is found behind the seccomp filter") {
  const Folder folder;
  if (::getuid() == 0) REQUIRE(::chmod((folder / "").c_str(), 0777) == 0);
  const Child child = exec({"/usr/bin/python3", "-c",
                            "import os, socket, sys, time\n"
                            "s = socket.create_server(('127.0.0.1', 0))\n"
                            "open(sys.argv[1] + '.new', 'w').write(str(s.getsockname()[1]))\n"
                            "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
                            "time.sleep(1000)",
                            folder / "port"},
                           nobody);
  REQUIRE(eventually([&] { return std::filesystem::exists(folder / "port"); }));
  int port = 0;
  std::ifstream(folder / "port") >> port;
  Targets targets({{"it", {{"port", port}}}});
  const link::Message listed = ask(targets.front(), "list", {{"target", "it"}});
  const json::object& target = array_of(listed.body, "targets")->at(0).get_object();
  CAPTURE(json::serialize(target));
  REQUIRE(text_of(target, "state") == "up");
  const json::object& process = target.at("processes").at(0).get_object();
  CHECK(number_of(process, "pid") == child.pid());
  CHECK(text_of(process, "runtime") == "python");
}

TEST_CASE("targets: clients that misbehave end alone") {
  const Child child = exec({"/bin/sleep", "1000"}, nobody);
  Targets targets({{"it", {{"pid", child.pid()}}}});
  link::Channel broken = targets.plugin();
  REQUIRE(::send(broken.fd(), "nonsense", 8, MSG_NOSIGNAL) == 8);
  link::Message message;
  CHECK(broken.wait(message, 5000) == link::Received::ended);

  link::Channel deaf = targets.plugin();
  for (int i = 0; i < 2000; ++i)  // never reads
    if (!deaf.send("list", {{"tag", i}}, {}, 2000)) break;

  // The front may not open, and is not dropped for trying.
  REQUIRE(targets.front().send("open", {{"tag", 1}, {"target", "it"}}));
  CHECK(ask(targets.front(), "list", {}).type == "listed");
  CHECK(array_of(ask(targets.front(), "list", {{"target", 5}}).body, "targets")->empty());
}

TEST_CASE("targets: ends with the supervisor") {
  Targets targets(json::object{});
  targets.supervisor.close();
  CHECK(targets.exit_status() == link::exit_parent_gone);
}

TEST_CASE("targets: looking at one target is quick") {
  const Child child = exec({"/bin/sleep", "1000"}, nobody);
  Targets targets({{"it", {{"pid", child.pid()}}}});
  ask(targets.front(), "list", {{"target", "it"}});
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) ask(targets.front(), "list", {{"target", "it"}});
  // Measured: 0.1 ms; the bound leaves room for sanitizers and a busy machine.
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(1));
}
