// Real processes to look at, started by the tests and ended with them.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace test {

class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child(const Child&) = delete;
  ~Child() { end(); }

  pid_t pid() const { return pid_; }
  // The wait status, -1 when it was reaped already.
  int wait() {
    int status = -1;
    if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }
  int end() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    return wait();
  }

 private:
  pid_t pid_;
};

// Runs `body` in a child of its own, which dies with the test. `as`: the uid and gid it takes first, where the test is
// root.
inline Child start(const std::function<void()>& body, uid_t as = static_cast<uid_t>(-1)) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid > 0) return Child(pid);
  if (as != static_cast<uid_t>(-1) && ::getuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setgid(as) != 0 || ::setuid(as) != 0))
    ::_exit(99);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(98);
  body();
  ::_exit(0);
}

// Starts a program and returns once it runs it.
inline Child exec(const std::vector<std::string>& command, uid_t as = static_cast<uid_t>(-1),
                  const std::string& program = {}) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  Child child = start(
      [&] {
        std::vector<char*> argv;
        for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
        argv.push_back(nullptr);
        ::execv(program.empty() ? argv[0] : program.c_str(), argv.data());
        ::_exit(97);
      },
      as);
  ::close(ends[1]);
  char byte;
  while (::read(ends[0], &byte, 1) > 0) {
  }
  ::close(ends[0]);
  return child;
}

// Waits until `ready` holds, at most twenty seconds.
inline bool eventually(const std::function<bool()>& ready) {
  for (int i = 0; i < 2000; ++i) {
    if (ready()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class Folder {
 public:
  Folder() {
    char path[] = "/tmp/hatchd-targets-XXXXXX";
    if (!::mkdtemp(path)) throw std::runtime_error("mkdtemp");
    path_ = path;
    ::chmod(path, 0755);
  }
  Folder(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content, mode_t mode = 0644) const {
    const std::string path = *this / name;
    std::ofstream(path) << content;
    ::chmod(path.c_str(), mode);
    return path;
  }
  // A copy of sleep, so that a test's process is told from all others by its executable.
  std::string program(const std::string& name) const {
    const std::string path = *this / name;
    std::filesystem::copy_file("/bin/sleep", path);
    ::chmod(path.c_str(), 0755);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace test
