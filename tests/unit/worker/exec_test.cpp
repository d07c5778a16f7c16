// `hatchd exec` and `hatchd check --plugin` as a person sees them: output, files, exit status.
#include "worker/exec.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "catch.hpp"

using namespace hatchd;
using worker::ExecOptions;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

struct Printed {
  std::string out, err;
  int status = -1;
};

// A fresh directory, the working directory of what is run.
struct Folder {
  Folder() {
    char name[] = "/tmp/hatchd-exec-XXXXXX";
    path = ::mkdtemp(name);
  }
  Folder(const Folder&) = delete;
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const {
    const UniqueFd fd{::open((path + "/" + name).c_str(), O_RDONLY)};
    return fd ? read_all(fd.get(), 1 << 20).value_or("") : "(no file)";
  }
  std::string path;
};

pid_t spawn_command(const Folder& folder, const std::function<int()>& command) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::chdir(folder.path.c_str()) != 0) ::_exit(99);
    ::dup2(::open("out", O_WRONLY | O_CREAT, 0600), 1);
    ::dup2(::open("err", O_WRONLY | O_CREAT, 0600), 2);
    const int status = command();
    std::fflush(nullptr);
    ::_exit(status);
  }
  return pid;
}

Printed collect(const Folder& folder, pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return {folder.file("out"), folder.file("err"), WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

ExecOptions probe(const std::string& hatch, std::vector<std::string> parameters = {}) {
  ExecOptions options;
  options.hatch = hatch;
  options.parameters = std::move(parameters);
  options.plugin = FIXTURES "/probe.so";
  return options;
}

Printed exec(const ExecOptions& options) {
  const Folder folder;
  return collect(folder, spawn_command(folder, [&] { return exec_command(options); }));
}
Printed check(const std::string& name) {
  const Folder folder;
  return collect(folder,
                 spawn_command(folder, [&] { return worker::check_plugin_command(FIXTURES "/" + name + ".so"); }));
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("exec prints the text of the result") {
  ExecOptions options = probe("probe.echo", {"text=good morning", "number=7", "words=a,b"});
  options.in_process = GENERATE(false, true);
  const Printed printed = exec(options);
  CAPTURE(printed.out, printed.err);
  CHECK(printed.status == 0);
  CHECK(has(printed.out, "you said: good morning\n"));
  CHECK(has(printed.out, "  number: 7\n"));
  CHECK(has(printed.out, "  words: a, b\n"));
}

TEST_CASE("exec runs the template that authors start from") {
  ExecOptions options;
  options.hatch = "disk.space";
  options.parameters = {"path=/", "least=0"};
  options.plugin = FIXTURES "/mine.so";
  const Printed printed = exec(options);
  CHECK(printed.status == 0);
  CHECK(has(printed.out, " % of / is free\n"));
}

TEST_CASE("exec --json prints the run, secrets masked") {
  ExecOptions options = probe("probe.echo", {"secret=hunter2"});
  options.json = true;
  const Printed printed = exec(options);
  CHECK(printed.status == 0);
  const json::object run = json::parse(printed.out).as_object();
  CHECK(run.at("state") == "succeeded");
  CHECK(run.at("hatch") == "probe.echo");
  CHECK(run.at("error").is_null());
  CHECK(run.at("result").at("verdict") == "you said: hello");
  CHECK(run.at("params").at("secret") == "******");
}

TEST_CASE("exec names what is wrong with its arguments") {
  const Printed wrong = exec(probe("probe.echo", {"number=many", "txt=x"}));
  CHECK(wrong.status == 2);
  CHECK(has(wrong.err, "number"));
  CHECK(exec(probe("probe.echo", {"number"})).status == 2);
  CHECK(exec(probe("probe.nothing")).status == 2);
  const Printed no_target = exec(probe("probe.target"));
  CHECK(no_target.status == 2);
  CHECK(has(no_target.err, "--pid"));
}

TEST_CASE("exec tells failures apart by its exit status") {
  const Printed plain = exec(probe("probe.fail"));
  CHECK(plain.status == 1);
  CHECK(has(plain.err, "failed (run-failed): it did not work\n"));
  const Printed rights = exec(probe("probe.fail", {"how=rights"}));
  CHECK(rights.status == 3);
  CHECK(has(rights.err, "missing: CAP_SYS_PTRACE\nremedy: grant sys_ptrace to the plugin\n"));
  ExecOptions crash = probe("broken.crashes");
  crash.plugin = FIXTURES "/crashes.so";
  CHECK(has(exec(crash).err, "crashed (run-crashed): the run ended with signal 11 (SIGSEGV)"));
}

TEST_CASE("exec keeps artifacts here and overwrites nothing") {
  const Folder folder;
  const UniqueFd mine{::open((folder.path + "/adopted.txt").c_str(), O_WRONLY | O_CREAT, 0600)};
  write_all(mine.get(), "mine");
  const Printed printed = collect(folder, spawn_command(folder, [] { return exec_command(probe("probe.artifact")); }));
  CHECK(printed.status == 0);
  CHECK(folder.file("written.txt") == "written by the hatch\n");
  CHECK(folder.file("adopted.txt") == "mine");
  std::vector<std::string> others;
  for (const auto& entry : fs::directory_iterator(folder.path))
    if (const std::string name = entry.path().filename(); name.size() > 20) others.push_back(name);
  REQUIRE(others.size() == 1);  // the artifact that was given up is gone
  CHECK(has(others[0], "-adopted.txt"));
  CHECK(folder.file(others[0]) == "adopted\n");
}

TEST_CASE("exec looks at a target") {
  const Folder folder;
  const pid_t target = ::fork();
  if (target == 0)
    for (;;) ::pause();
  ExecOptions options = probe("probe.target");
  options.pid = target;
  options.json = true;
  options.in_process = GENERATE(false, true);
  const Printed printed = collect(folder, spawn_command(folder, [&] { return exec_command(options); }));
  ::kill(target, SIGKILL);
  ::waitpid(target, nullptr, 0);
  CAPTURE(printed.err);
  REQUIRE(printed.status == 0);
  const json::object run = json::parse(printed.out).as_object();
  CHECK(run.at("result").at("processes").as_array().size() == 1);
  CHECK(run.at("result").at("processes").as_array().at(0).at("pid") == target);
}

TEST_CASE("Ctrl-C cancels, once more kills") {
  const std::string name = GENERATE("slow", "hangs");
  const Folder folder;
  ExecOptions options;
  options.hatch = "broken." + name;
  options.plugin = FIXTURES "/" + name + ".so";
  options.plugin_directories = {};
  const pid_t pid = spawn_command(folder, [&] { return exec_command(options); });
  // From when it waits for the run on, it takes SIGINT (2) itself and has it blocked. posix_spawn(3) has every signal
  // blocked for a moment, SIGUSR1 (10) among them.
  bool waiting = false;
  for (int i = 0; i < 1000 && !waiting; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto status =
        read_file_at(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/status").c_str(), 1 << 16).value_or("");
    const std::size_t mask = status.find("SigBlk:\t");
    const auto blocked = mask == std::string::npos ? 0 : std::stoull(status.substr(mask + 8, 16), nullptr, 16);
    waiting = (blocked & 1 << 1) != 0 && (blocked & 1 << 9) == 0;
  }
  REQUIRE(waiting);
  ::kill(pid, SIGINT);
  if (name == "hangs") {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ::kill(pid, SIGINT);
  }
  const Printed printed = collect(folder, pid);
  CHECK(printed.status == 1);
  CHECK(has(printed.err, "cancelling; once more to kill\n"));
  CHECK(has(printed.err, name == "slow" ? "cancelled (run-cancelled)" : "crashed (run-crashed)"));
}

TEST_CASE("check says what a plugin brings, or everything that is wrong with it") {
  const Printed good = check("probe");
  CHECK(good.status == 0);
  CHECK(has(good.out, "probe 1.0: Shows what a run gets\n"));
  CHECK(has(good.out, "  probe.rights: Show the rights of a run\n    observe, target none, sys_ptrace, kill\n"));
  const Printed twice = check("duplicate_id");
  CHECK(twice.status == 1);
  CHECK(has(twice.out, "/hatches/1/id: \"broken.twice\" is there twice"));
  const Printed crash = check("crash_at_load");
  CHECK(crash.status == 1);
  CHECK(has(crash.out, "it crashed while it was opened: signal 11 (SIGSEGV)"));
  const Printed hang = check("hang_at_load");
  CHECK(hang.status == 1);
  CHECK(has(hang.out, "it hangs: it did not describe itself within 5 s"));
}
