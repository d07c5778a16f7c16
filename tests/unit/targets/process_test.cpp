#include "targets/process.hpp"

#include <linux/sched.h>
#include <sys/syscall.h>

#include <atomic>
#include <boost/json.hpp>
#include <cerrno>

#include "base/json.hpp"
#include "catch.hpp"
#include "processes.hpp"
#include "targets/facts.hpp"
#include "targets/proc.hpp"

using namespace hatchd;
using namespace hatchd::targets;
using namespace test;

namespace {

// A child with a number of our choice; -1 where only root may choose.
pid_t fork_as(pid_t wanted) {
  clone_args args{};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
  args.set_tid_size = 1;
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  return pid;
}

boost::json::object facts_of(pid_t pid) {
  auto process = Process::open(pid);
  REQUIRE(process);
  Held held{std::move(*process)};
  return facts(held, true, 64 * 1024);
}

}  // namespace

TEST_CASE("a process is held by what it is, not by its number") {
  Child child = exec({"/bin/sleep", "1000"});
  const pid_t pid = child.pid();
  auto process = Process::open(pid);
  REQUIRE(process);
  CHECK(process->alive());
  CHECK(process->started().size() == 24);
  CHECK(Process::open(pid, process->started_ticks()));
  CHECK_FALSE(Process::open(pid, process->started_ticks() + 1));
  CHECK(errno == ESRCH);

  SECTION("a zombie is not alive") {
    ::kill(pid, SIGKILL);
    REQUIRE(eventually([&] { return !process->alive(); }));
    CHECK_FALSE(Process::open(pid));
    CHECK(read_stat(process->directory())->state == 'Z');
  }
  SECTION("nothing reaches a successor of the same number") {
    child.end();
    CHECK_FALSE(process->alive());
    CHECK_FALSE(read_stat(process->directory()));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // another tick
    const pid_t again = fork_as(pid);
    if (again < 0) return;  // not root: the number cannot be had at will
    const Child successor(again);
    CHECK(again == pid);
    CHECK_FALSE(process->alive());
    CHECK_FALSE(read_stat(process->directory()));
    CHECK_FALSE(Process::open(pid, process->started_ticks()));
    CHECK(Process::open(pid));
  }
}

TEST_CASE("a thread's id and a free number are no process") {
  std::atomic<pid_t> tid = 0;
  std::atomic<bool> stop = false;
  std::thread thread([&] {
    tid = static_cast<pid_t>(::syscall(SYS_gettid));
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  REQUIRE(eventually([&] { return tid != 0; }));
  CHECK_FALSE(Process::open(tid));
  CHECK(errno == ESRCH);
  stop = true;
  thread.join();
  CHECK_FALSE(Process::open(4'194'304 + 1));
}

TEST_CASE("facts of a process") {
  const Child stays = exec({"/bin/sleep", "1000"});
  REQUIRE(eventually([&] { return text_of(facts_of(stays.pid()), "state") == "S"; }));  // it has loaded its libraries
  const boost::json::object told = facts_of(stays.pid());
  CHECK(number_of(told, "pid") == stays.pid());
  CHECK(flag_of(told, "main"));
  CHECK(text_of(told, "name") == "sleep");
  CHECK(text_of(told, "executable") == std::filesystem::canonical("/bin/sleep"));
  CHECK_FALSE(flag_of(told, "executable_deleted", true));
  CHECK(text_of(told, "runtime") == "native");
  CHECK(text_of(told, "state") == "S");
  CHECK(number_of(told, "uid", -1) == ::geteuid());
  CHECK(number_of(told, "threads") == 1);
  CHECK(number_of(told, "resident_bytes") > 100'000);
  CHECK(number_of(told, "open_fds") >= 3);
  CHECK(number_of(told, "max_fds") > 3);
  CHECK(number_of(told, "tracer_pid", -1) == 0);
  CHECK(number_of(told, "pid_namespace") > 0);
  CHECK(texts_of(told, "command") == std::vector<std::string>{"/bin/sleep", "1000"});
  CHECK(told.contains("cpu_seconds"));
}

TEST_CASE("facts: a deleted executable is told by its link count") {
  const Folder folder;
  const std::string path = folder.program("victim (deleted)");
  const Child child = exec({path, "1000"});
  CHECK(text_of(facts_of(child.pid()), "executable") == path);
  CHECK_FALSE(flag_of(facts_of(child.pid()), "executable_deleted", true));
  std::filesystem::remove(path);
  CHECK(text_of(facts_of(child.pid()), "executable") == path);
  CHECK(flag_of(facts_of(child.pid()), "executable_deleted"));
}

TEST_CASE("facts: a hostile name neither breaks the reading nor reaches the reader") {
  Child child = start([] {
    ::prctl(PR_SET_NAME, "x) R 1\n2 (\x1b[");
    for (;;) ::pause();
  });
  REQUIRE(eventually([&] { return text_of(facts_of(child.pid()), "name").starts_with("x) R"); }));
  const auto told = facts_of(child.pid());
  CHECK(text_of(told, "name") ==
        "x) R 1\xEF\xBF\xBD"
        "2 (\xEF\xBF\xBD[");
  CHECK(read_stat(Process::open(child.pid())->directory())->parent == ::getpid());
}

TEST_CASE("facts: Python is recognized by more than its name") {
  const Folder folder;
  std::filesystem::create_symlink("/usr/bin/python3", folder / "shop");
  const Child child = exec({folder / "shop", "-c", "import time; time.sleep(1000)"});
  CHECK(eventually([&] { return text_of(facts_of(child.pid()), "runtime") == "python"; }));
}
