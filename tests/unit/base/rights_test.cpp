// Each case lowers a forked child, which reports by its exit status what it could still do.
#include "base/rights.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "catch.hpp"

using namespace hatchd;

namespace {

// Exit status of a child that runs `body`; 100 + signal when it was killed.
int in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

bool denied(long result) { return result == -1 && errno == EPERM; }

std::string status_line(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(name + ":\t", 0) == 0) return line.substr(name.size() + 2);
  return {};
}

}  // namespace

TEST_CASE("every lowered process is undumpable, filtered and without new privileges") {
  const auto filter = GENERATE(rights::Filter::front, rights::Filter::targets, rights::Filter::plugin);
  CHECK(in_child([&] {
          const pid_t parent = ::getppid();
          if (!rights::lower({}, filter, parent)) return 1;
          if (::prctl(PR_GET_DUMPABLE) != 0) return 2;
          if (status_line("NoNewPrivs") != "1") return 3;
          if (status_line("Seccomp") != "2") return 4;
          if (status_line("CapEff") != "0000000000000000" || status_line("CapPrm") != "0000000000000000") return 5;
          if (!rights::capabilities().empty()) return 6;
          int signal = 0;
          ::prctl(PR_GET_PDEATHSIG, &signal);
          return signal == SIGKILL ? 0 : 7;
        }) == 0);
}

TEST_CASE("the front cannot start, signal, trace or connect") {
  CHECK(in_child([] {
          const pid_t other = ::getppid();
          if (!rights::lower({}, rights::Filter::front, 0)) return 1;
          if (!denied(::kill(other, 0))) return 2;
          if (!denied(::ptrace(PTRACE_SEIZE, other, 0, 0))) return 3;
          if (!denied(::fcntl(0, F_SETOWN, other)) || !denied(::fcntl(0, F_SETSIG, SIGKILL))) return 8;
          rlimit limit{0, 0};
          if (!denied(::prlimit(other, RLIMIT_CPU, &limit, nullptr))) return 9;
          if (!denied(::socket(AF_INET, SOCK_STREAM, 0))) return 4;
          if (!denied(::execl("/bin/true", "true", nullptr))) return 5;
          if (!denied(::fork())) return 6;
          int pair[2];
          if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0) return 7;
          int answer = 10;
          std::thread([&] { answer = 0; }).join();  // threads stay possible
          return answer;
        }) == 0);
}

TEST_CASE("a run that dropped its rights can neither trace nor talk, but can read files and use memory") {
  CHECK(in_child([] {
          const pid_t other = ::getppid();
          if (!rights::lower({{}, {}, {"sys_ptrace"}}, rights::Filter::plugin, 0)) return 1;
          if (rights::drop() != 0) return 2;
          if (!rights::capabilities().empty()) return 3;
          if (!denied(::ptrace(PTRACE_SEIZE, other, 0, 0))) return 4;
          if (!denied(::socket(AF_UNIX, SOCK_STREAM, 0))) return 5;
          if (!denied(::kill(other, 0))) return 6;
          return ::open("/proc/self/maps", O_RDONLY) >= 0 || ::open("/etc/passwd", O_RDONLY) >= 0 ? 0 : 7;
        }) == 0);
}

TEST_CASE("a run that dropped its rights looks into no process of its own user either") {
  if (::geteuid() != 0) return;  // takes root to make two of another user
  int ready[2];
  REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
  const pid_t other = ::fork();
  if (other == 0) {
    ::close(ready[0]);
    if (::setresgid(65533, 65533, 65533) != 0 || ::setresuid(65533, 65533, 65533) != 0) ::_exit(1);
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (::write(ready[1], "r", 1) == 1) ::pause();
    ::_exit(0);
  }
  ::close(ready[1]);
  char is_ready = 0;
  const bool told = ::read(ready[0], &is_ready, 1) == 1;
  ::close(ready[0]);
  const std::string memory = "/proc/" + std::to_string(other) + "/mem";
  const int result = in_child([&] {
    if (!rights::lower({65533, 65533, {}}, rights::Filter::plugin, 0)) return 1;
    if (::open(memory.c_str(), O_RDWR | O_CLOEXEC) < 0) return 78;
    if (rights::drop() != 0) return 2;
    if (::open(memory.c_str(), O_RDONLY | O_CLOEXEC) >= 0) {
      const bool has_landlock = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1) > 0;
      return has_landlock ? 3 : 77;
    }
    return ::open("/etc/passwd", O_RDONLY) >= 0 ? 0 : 4;
  });
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  REQUIRE(told);
  if (result == 77 || result == 78) {
    WARN("no Landlock, or Yama stands in the way already");
    return;
  }
  CHECK(result == 0);
}

TEST_CASE("granted capabilities survive a change of user, others do not") {
  if (::geteuid() != 0) return;  // needs CAP_SETUID
  CHECK(in_child([] {
          if (!rights::lower({65533, 65533, {"sys_ptrace"}}, rights::Filter::plugin, 0)) return 1;
          if (::getuid() != 65533 || ::getegid() != 65533) return 2;
          if (rights::capabilities() != std::vector<std::string>{"sys_ptrace"}) return 3;
          return ::setuid(0) == -1 ? 0 : 4;
        }) == 0);
}

TEST_CASE("abort still ends a filtered process by its signal") {
  CHECK(in_child([] {
          if (!rights::lower({}, rights::Filter::front, 0)) return 1;
          ::signal(SIGABRT, SIG_DFL);
          ::abort();
        }) == 100 + SIGABRT);
}

TEST_CASE("a process dies with its parent") {
  int pair[2];
  REQUIRE(::pipe(pair) == 0);
  in_child([&] {
    if (::fork() == 0) {
      ::close(pair[0]);
      if (!rights::lower({}, rights::Filter::targets, ::getppid())) ::_exit(1);
      (void)!::write(pair[1], "x", 1);
      ::pause();
    }
    char ready;
    (void)!::read(pair[0], &ready, 1);
    return 0;
  });
  ::close(pair[1]);
  char byte;
  CHECK(::read(pair[0], &byte, 1) == 0);  // end of file: the grandchild is gone too
  ::close(pair[0]);
}

TEST_CASE("names of capabilities") {
  CHECK(rights::is_capability("sys_ptrace"));
  CHECK(rights::is_capability("dac_read_search"));
  CHECK_FALSE(rights::is_capability("sys_root"));
  CHECK_FALSE(rights::is_capability(""));
}

TEST_CASE("who was granted CAP_SYS_ADMIN may enter a network, no other namespace, and makes none") {
  if (::geteuid() != 0) return;
  CHECK(in_child([] {
          const int network = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
          const int mounts = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
          if (!rights::lower({{}, {}, {"sys_admin"}}, rights::Filter::plugin, 0)) return 1;
          if (rights::capabilities() != std::vector<std::string>{"sys_admin"}) return 2;
          if (::setns(network, CLONE_NEWNET) != 0) return 3;
          if (!denied(::setns(network, 0))) return 4;  // "whatever it is": the filter cannot know
          if (!denied(::setns(mounts, CLONE_NEWNS)) || !denied(::setns(mounts, 0))) return 5;
          if (!denied(::unshare(CLONE_NEWNET)) || !denied(::unshare(CLONE_NEWNS))) return 6;
          for (const unsigned long flag : {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID})
            if (!denied(::syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0))) return 7;
          if (::syscall(SYS_clone3, nullptr, 0) != -1 || errno != ENOSYS) return 8;
          const pid_t child = ::fork();
          if (child == 0) ::_exit(0);
          if (child < 0 || ::waitpid(child, nullptr, 0) != child) return 9;
          if (!rights::give_up("sys_admin") || !rights::capabilities().empty()) return 10;
          return denied(::setns(network, CLONE_NEWNET)) ? 0 : 11;
        }) == 0);
}

TEST_CASE("without that right nobody enters a namespace, not even its own, and nobody makes one") {
  const auto filter =
      GENERATE(rights::Filter::front, rights::Filter::targets, rights::Filter::plugin, rights::Filter::launcher);
  CHECK(in_child([&] {
          const int network = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
          if (!rights::lower({{}, {}, {"sys_ptrace"}}, filter, 0)) return 1;
          for (const unsigned long flag : {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID})
            if (!denied(::syscall(SYS_clone, flag | SIGCHLD, 0, 0, 0, 0))) return 3;
          if (::syscall(SYS_clone3, nullptr, 0) != -1 || errno != ENOSYS) return 4;
          return denied(::setns(network, CLONE_NEWNET)) ? 0 : 2;
        }) == 0);
}
