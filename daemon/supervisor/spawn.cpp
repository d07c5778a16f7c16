#include "supervisor/spawn.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "link/protocol.hpp"

namespace hatchd::supervisor {

namespace {

// What a child may see of our environment: how to print and where sanitizers report, no secret of the configuration.
std::vector<std::string> child_environment() {
  std::vector<std::string> environment{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  for (const char* name : {"LANG", "LC_ALL", "TZ", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "HATCHD_LOG"})
    if (const char* value = std::getenv(name)) environment.push_back(std::string(name) + "=" + value);
  // Room behind argv[0] for longer titles ("hatchd: run 01J…"), see rights::set_title().
  environment.push_back("HATCHD_TITLE_ROOM=" + std::string(64, '.'));
  return environment;
}

[[noreturn]] void become(const std::string& program, const std::string& title, int control, int failure,
                         char* const* environment) {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  // `failure` moves above the control descriptor first, so that placing that one cannot overwrite it.
  const int report = ::fcntl(failure, F_DUPFD_CLOEXEC, link::control_fd + 1);
  const int null = ::open("/dev/null", O_RDONLY);
  if (null > 0) ::dup2(null, 0);
  if (control == link::control_fd)
    ::fcntl(control, F_SETFD, 0);
  else
    ::dup2(control, link::control_fd);
  ::close_range(link::control_fd + 1, ~0u, CLOSE_RANGE_CLOEXEC);
  char* const argv[] = {const_cast<char*>(title.c_str()), nullptr};
  ::execve(program.c_str(), argv, environment);
  const int error = errno;
  (void)!::write(report, &error, sizeof error);
  ::_exit(127);
}

}  // namespace

Result<Spawned> spawn(const std::string& program, const std::string& title) {
  auto [ours, theirs] = link::Channel::pair();
  int failure[2];
  if (::pipe2(failure, O_CLOEXEC) != 0) return refuse("internal", "pipe: " + errno_text(errno));
  UniqueFd failure_reader{failure[0]}, failure_writer{failure[1]};

  const std::vector<std::string> environment = child_environment();
  std::vector<char*> pointers;
  for (const std::string& variable : environment) pointers.push_back(const_cast<char*>(variable.c_str()));
  pointers.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0) return refuse("internal", "fork: " + errno_text(errno));
  if (pid == 0) become(program, title, theirs.get(), failure_writer.get(), pointers.data());

  failure_writer.reset();
  int error = 0;
  if (::read(failure_reader.get(), &error, sizeof error) == sizeof error) {
    ::waitpid(pid, nullptr, 0);
    return refuse("internal", program + ": " + errno_text(error));
  }
  Spawned child;
  child.pid = pid;
  // By number: <sys/pidfd.h> of glibc 2.36 does not declare its functions extern "C".
  child.pidfd = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!child.pidfd) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return refuse("internal", "pidfd_open: " + errno_text(errno));
  }
  child.channel = link::Channel{std::move(ours)};
  return child;
}

std::string own_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

Result<std::string> worker_program() {
  const std::filesystem::path bin = std::filesystem::path(own_program()).parent_path();
  for (const char* place : {"../libexec/hatchd/hatchd-worker", "../libexec/hatchd-worker"}) {
    const auto path = (bin / place).lexically_normal();
    if (::access(path.c_str(), X_OK) == 0) return path.string();
  }
  return refuse("internal", "hatchd-worker is neither in ../libexec/hatchd nor in ../libexec of " + bin.string(),
                "install hatchd whole, or build it with ./dev build");
}

}  // namespace hatchd::supervisor
