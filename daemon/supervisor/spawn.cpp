#include "supervisor/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <vector>

#include "base/program.hpp"
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

// What posix_spawn(3) does between fork and exec. It shares our memory with the child until exec: nothing is copied, which
// would take longer than all else here.
class Preparations {
 public:
  explicit Preparations(int control) {
    check(::posix_spawn_file_actions_init(&files_));
    check(::posix_spawnattr_init(&attributes_));
    check(::posix_spawn_file_actions_adddup2(&files_, control, link::control_fd));
    check(::posix_spawn_file_actions_addclosefrom_np(&files_, link::control_fd + 1));
    check(::posix_spawn_file_actions_addopen(&files_, 0, "/dev/null", O_RDONLY, 0));
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    check(::posix_spawnattr_setsigdefault(&attributes_, &all));
    check(::posix_spawnattr_setsigmask(&attributes_, &none));
    check(::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
  }
  ~Preparations() {
    ::posix_spawn_file_actions_destroy(&files_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  Preparations(const Preparations&) = delete;

  const posix_spawn_file_actions_t* files() const { return &files_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  static void check(int error) {
    if (error != 0) throw std::bad_alloc();  // nothing else can go wrong with these arguments
  }
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

}  // namespace

Result<Spawned> spawn(const std::string& program, const std::string& title) {
  auto [ours, theirs] = link::Channel::pair();
  const std::vector<std::string> environment = child_environment();
  std::vector<char*> variables;
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  variables.push_back(nullptr);
  char* const argv[] = {const_cast<char*>(title.c_str()), nullptr};

  pid_t pid = -1;
  const Preparations prepared{theirs.get()};
  const int error =
      ::posix_spawn(&pid, program.c_str(), prepared.files(), prepared.attributes(), argv, variables.data());
  // It does not say what was missing; besides the program there is one other file to open.
  if (error != 0)
    return refuse("internal", (::access("/dev/null", R_OK) == 0 ? program : "/dev/null") + ": " + errno_text(error));

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

Result<std::string> worker_program() { return own_part("hatchd-worker"); }

}  // namespace hatchd::supervisor
