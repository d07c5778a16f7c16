#include "common/child.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "hatch/hatch.hpp"

namespace common {
namespace {

constexpr std::chrono::milliseconds term_patience{2000};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// What the child could not do, and errno.
struct Failed {
  enum Step : int { none, becoming, limiting, entering, executing, interpreting } step = none;
  int error = 0;
};

// No right of the plugin's is the program's, also where its user is root.
bool give_up_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct nothing[2]{};
  return ::syscall(SYS_capset, &header, nothing) == 0;
}

bool become(const User& user) {
  if (::getuid() == user.uid && ::getgid() == user.gid) return true;
  return ::setgroups(user.groups.size(), user.groups.data()) == 0 && ::setresgid(user.gid, user.gid, user.gid) == 0 &&
         ::setresuid(user.uid, user.uid, user.uid) == 0;
}

// What execve(2) would say of the program, as far as can be told without it. Called between fork and exec.
Failed would_execute(const char* program) {
  struct stat info {};
  if (::access(program, X_OK) != 0) return {Failed::executing, errno};
  if (::stat(program, &info) == 0 && !S_ISREG(info.st_mode)) return {Failed::executing, EACCES};
  const int file = ::open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // one that may not be read may be started
  char first[256] = {};
  const ssize_t size = file < 0 ? 0 : ::read(file, first, sizeof first - 1);
  if (file < 0) return {};
  // A script that does not say what reads it; of what is no text, binfmt_misc may know more.
  if (size <= 0 ||
      (first[0] != '#' &&
       std::all_of(first, first + size, [](char c) { return c == '\t' || c == '\n' || (c >= ' ' && c <= '~'); })) ||
      (first[0] == '#' && first[1] != '!'))
    return {Failed::executing, ENOEXEC};
  if (first[0] != '#') return {};
  first[size] = '\0';
  char* begin = first + 2;
  begin += std::strspn(begin, " \t");
  begin[std::strcspn(begin, " \t\n")] = '\0';
  if (*begin == '\0' || ::access(begin, X_OK) == 0) return {};
  return {Failed::interpreting, errno};
}

hatch::Failure failure_of(const Start& start, const Failed& failed) {
  if (failed.step == Failed::becoming && start.user && failed.error == EPERM)
    return hatch::Failure::rights("hatchd may not become the user " + start.user->name, {"CAP_SETUID", "CAP_SETGID"},
                                  "give them to hatchd, and to its plugin: \"plugins\": {\"recipe\": "
                                  "{\"capabilities\": [\"setuid\", \"setgid\"]}}; or run hatchd as that user");
  const std::string& program = start.arguments.front();
  const std::string error = std::strerror(failed.error);
  const std::string who = start.user ? "the user " + start.user->name
                                     : "the user id " + std::to_string(::getuid()) + ", which the plugin is";
  switch (failed.step) {
    case Failed::limiting: return hatch::Failure(program + " could not be limited: " + error);
    case Failed::becoming: return hatch::Failure(program + " could not be given to its user: " + error);
    case Failed::entering: {
      hatch::Failure failure{program + " could not be started in " + start.directory + ": " + error};
      failure.missing = {start.directory};
      failure.remedy = failed.error == EACCES ? "let " + who + " enter it" : "make that folder, or name another";
      return failure;
    }
    case Failed::interpreting: {
      hatch::Failure failure{program + " could not be started: what its first line (#!) names is not there"};
      failure.missing = {"the interpreter of " + program};
      failure.remedy = "install it, or correct that line";
      return failure;
    }
    default: {
      hatch::Failure failure{program + " could not be started: " + error};
      failure.missing = {program};
      if (failed.error == ENOENT || failed.error == ENOTDIR)
        failure.remedy = "install it, or write where it is";
      else if (failed.error == EACCES)
        failure.remedy =
            "let " + who + " execute it (chmod +x, and x on its folders; a file system with noexec starts none)";
      else if (failed.error == ENOEXEC)
        failure.remedy = "begin it with what reads it, such as #!/bin/sh";
      return failure;
    }
  }
}

}  // namespace

std::string unfit_argument(std::string_view text, bool plain, const std::string& where) {
  if (text.find('\0') != std::string_view::npos) return "holds a NUL byte";
  if (plain || !text.starts_with('-')) return {};
  return "begins with '-', which the program would take for an option; write \"--\" before it in " + where +
         " where the program knows that";
}

std::vector<std::string> bare_environment() {
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
}

User user_of(const std::string& name) {
  errno = 0;
  const passwd* entry = ::getpwnam(name.c_str());
  if (!entry) {
    hatch::Failure failure{"there is no user " + name + " here"};
    failure.missing = {"the user " + name};
    failure.remedy = "make it (useradd(8)), or name another";
    throw failure;
  }
  User user{name, entry->pw_uid, entry->pw_gid, {}};
  int count = 64;
  user.groups.resize(static_cast<std::size_t>(count));
  while (::getgrouplist(name.c_str(), user.gid, user.groups.data(), &count) < 0 && count > 0 && count < 65536)
    user.groups.resize(static_cast<std::size_t>(count));
  user.groups.resize(static_cast<std::size_t>(std::max(count, 0)));
  return user;
}

Child::Child(Start start) : Child(std::move(start), false) {}

void Child::try_start(Start start) { const Child tried{std::move(start), true}; }

Child::Child(Start start, bool only_try) {
  int output[2], failure[2];
  if (::pipe2(output, O_CLOEXEC) != 0) throw std::runtime_error("pipe: " + std::string(std::strerror(errno)));
  if (::pipe2(failure, O_CLOEXEC) != 0) {
    const int error = errno;
    ::close(output[0]);
    ::close(output[1]);
    throw std::runtime_error("pipe: " + std::string(std::strerror(error)));
  }
  const std::vector<char*> argv = pointers(start.arguments), envp = pointers(start.environment);
  pid_ = ::fork();
  if (pid_ == 0) {
    const auto tell = [&](const Failed& failed) {
      (void)!::write(failure[1], &failed, sizeof failed);
      ::_exit(127);
    };
    const auto fail = [&](Failed::Step step) { tell({step, errno}); };
    ::setpgid(0, 0);
    const int null = ::open("/dev/null", O_RDONLY);
    if (null < 0 || ::dup2(null, 0) != 0 || ::dup2(output[1], 1) != 1 || ::dup2(output[1], 2) != 2)
      fail(Failed::executing);
    if (start.user && !become(*start.user)) fail(Failed::becoming);
    if (!give_up_capabilities()) fail(Failed::becoming);
    for (const auto& [resource, most] : start.limits) {
      const rlimit limit{most, most};
      if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) fail(Failed::limiting);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of ids clears it: hence so late
    if (::chdir(start.directory.c_str()) != 0) fail(Failed::entering);
    if (only_try) tell(would_execute(argv[0]));
    ::execve(argv[0], argv.data(), envp.data());
    const int error = errno;
    const Failed why = error == ENOENT ? would_execute(argv[0]) : Failed{};
    tell(why.step == Failed::interpreting ? why : Failed{Failed::executing, error});
  }
  ::close(output[1]);
  ::close(failure[1]);
  output_ = output[0];
  Failed failed;
  if (pid_ < 0)
    failed = {Failed::executing, errno};
  else if (::read(failure[0], &failed, sizeof failed) != sizeof failed)
    failed = {};
  ::close(failure[0]);
  if (failed.step == Failed::none && !only_try) return;
  if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  if (failed.step == Failed::none) return;  // the destructor closes the rest
  ::close(output_);
  throw failure_of(start, failed);
}

Child::~Child() {
  if (pid_ > 0) end();
  ::close(output_);
}

int Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  ::kill(-std::exchange(pid_, -1), SIGKILL);  // what it left behind
  return status;
}

void Child::end() {
  ::kill(-pid_, SIGTERM);
  for (auto waited = std::chrono::milliseconds{0}; waited < term_patience; waited += std::chrono::milliseconds{20}) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      ::kill(-std::exchange(pid_, -1), SIGKILL);
      return;
    }
    ::usleep(20'000);
  }
  ::kill(-pid_, SIGKILL);
  wait();
}

std::string ending(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return "SIG" + std::string(name ? name : std::to_string(WTERMSIG(status)).c_str());
}

}  // namespace common
