#include "base/landlock.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/fd.hpp"
#include "catch.hpp"

using namespace hatchd;

namespace {

// In a child, since the fence cannot be taken down. 0, the number of the first thing that is not as it should be, or 77
// where the kernel has no Landlock.
int inside_the_fence(const std::string& mine, const std::string& other, pid_t stranger) {
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const UniqueFd folder{::open(mine.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  const std::array<int, 1> own{folder.get()};
  const std::array readable{"/etc", "/proc", "/no/such/folder"};
  const auto done = landlock::confine(own, readable);
  if (!done) return 1;
  if (!*done) return 77;
  const auto fails = [](int result) { return result < 0; };
  // What is in the folder is as free as before.
  if (fails(::mkdirat(folder.get(), "run", 0700))) return 2;
  const UniqueFd file{::openat(folder.get(), "run/new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  if (!file || !write_all(file.get(), "text") || fails(::ftruncate(file.get(), 1))) return 3;
  if (fails(::renameat(folder.get(), "run/new", folder.get(), "old")) || fails(::unlinkat(folder.get(), "old", 0)))
    return 4;
  // Outside nothing is made, changed or removed, and nobody is looked into, by root neither.
  if (!fails(::mkdir((other + "/made").c_str(), 0700))) return 5;
  if (!fails(::open((other + "/there").c_str(), O_WRONLY | O_CLOEXEC))) return 6;
  if (!fails(::unlink((other + "/there").c_str()))) return 7;
  const std::string memory = "/proc/" + std::to_string(stranger) + "/mem";
  if (!fails(::open(memory.c_str(), O_RDONLY | O_CLOEXEC)) || !fails(::open(memory.c_str(), O_RDWR | O_CLOEXEC)))
    return 8;
  if (::ptrace(PTRACE_SEIZE, stranger, nullptr, nullptr) == 0) return 9;
  // What is neither in the folder nor in one that is to be read is not read.
  const UniqueFd users{::open("/etc/passwd", O_RDONLY | O_CLOEXEC)};
  if (!users) return 10;
  if (!fails(::open((other + "/there").c_str(), O_RDONLY | O_CLOEXEC))) return 11;
  const std::string around = "/proc/" + std::to_string(stranger) + "/root" + other + "/there";
  return fails(::open(around.c_str(), O_RDONLY | O_CLOEXEC)) ? 0 : 12;
}

}  // namespace

TEST_CASE("inside the fence only the given folders can be reached, and nobody outside can be looked into") {
  std::array<std::string, 2> folders{"/tmp/hatchd-fence-XXXXXX", "/tmp/hatchd-fence-XXXXXX"};
  for (std::string& folder : folders) REQUIRE(::mkdtemp(folder.data()) != nullptr);
  REQUIRE(UniqueFd{::open((folders[1] + "/there").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)});
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    ::pause();
    ::_exit(0);
  }
  const pid_t child = ::fork();
  if (child == 0) ::_exit(inside_the_fence(folders[0], folders[1], stranger));
  int status = 0;
  ::waitpid(child, &status, 0);
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, nullptr, 0);
  ::unlink((folders[1] + "/there").c_str());
  ::rmdir((folders[0] + "/run").c_str());
  for (const std::string& folder : folders) ::rmdir(folder.c_str());
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    WARN("this kernel has no Landlock");
    return;
  }
  CHECK(WEXITSTATUS(status) == 0);
}
