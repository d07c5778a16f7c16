// Targets to dump, and the dump itself, without a host.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "stack/digest.hpp"
#include "stack/gather.hpp"
#include "stack/render.hpp"
#include "stack/threads.hpp"

namespace stack_test {

using namespace std::chrono_literals;

struct TestHold : stack::Hold {
  void begin() override { ++begun; }
  void end() override { ++ended; }
  bool cancelled() override { return on_check && on_check(++checks); }
  stack::Micros max_pause() const override { return budget; }
  bool drop_rights() override { return !on_drop || on_drop(); }

  stack::Micros budget{5'000'000};  // a busy test machine is no failure
  std::function<bool(int)> on_check;
  std::function<bool()> on_drop;  // in the child that learns
  int begun = 0, ended = 0, checks = 0;
};

// Asks until it is so, for at most a minute.
inline bool eventually(const std::function<bool()>& condition) {
  for (const auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return condition();
}

// A process that ends with its owner.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// Runs `body` in a fork, and returns when it has called its argument for the first time.
inline Child fork_child(const std::function<void(const std::function<void()>& ready)>& body) {
  int pipe[2];
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body([&] { [[maybe_unused]] const ssize_t told = ::write(pipe[1], "r", 1); });
    ::_exit(0);
  }
  ::close(pipe[1]);
  char ready = 0;
  const ssize_t n = ::read(pipe[0], &ready, 1);
  ::close(pipe[0]);
  Child child{pid};
  REQUIRE(n == 1);
  return child;
}

// The demo program, with a pipe from its output.
class Demo {
 public:
  explicit Demo(std::vector<std::string> arguments = {}, const std::string& program = HATCHD_DEMO, uid_t uid = 0) {
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(pipe[1], STDOUT_FILENO);
      if (uid && ::setresuid(uid, uid, uid) != 0) ::_exit(126);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execv(program.c_str(), argv.data());
      ::_exit(127);
    }
    ::close(pipe[1]);
    output_ = ::fdopen(pipe[0], "r");
    REQUIRE(line() == std::to_string(pid_));
    REQUIRE(line() == "ready");
    // On a busy machine threads that were started may not have come to their places yet.
    REQUIRE(eventually([&] { return is_settled(); }));
  }
  Demo(const Demo&) = delete;
  ~Demo() {
    ::kill(pid_, SIGKILL);
    ::kill(pid_, SIGCONT);
    ::waitpid(pid_, nullptr, 0);
    if (output_) std::fclose(output_);
  }
  pid_t pid() const { return pid_; }

  std::string line() {
    char text[512];
    if (!std::fgets(text, sizeof text, output_)) return {};
    std::string line = text;
    if (!line.empty() && line.back() == '\n') line.pop_back();
    return line;
  }
  // What it says when it is asked: it lives, and its main thread runs.
  std::string report() {
    ::kill(pid_, SIGUSR1);
    return line();
  }

 private:
  // All sleep but those whose work is to run.
  bool is_settled() const {
    const std::string directory = "/proc/" + std::to_string(pid_);
    const stack::UniqueFd proc_fd{::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    std::vector<stack::ThreadCopy> threads;
    std::unordered_set<pid_t> seen;
    stack::add_new_threads(proc_fd.get(), threads, seen);
    return threads.size() >= 10 && std::all_of(threads.begin(), threads.end(), [&](const stack::ThreadCopy& thread) {
             const bool own_name = thread.tid == pid_ || thread.name != threads.front().name;
             return thread.name == "pricer" || thread.name == "watcher" || (own_name && thread.state == 'S');
           });
  }

  pid_t pid_ = -1;
  std::FILE* output_ = nullptr;
};

struct Dump {
  stack::Gathered gathered;
  stack::Digest digest;

  const stack::ProcessCopy& process() const { return gathered.processes.at(0); }
  // -1: no thread of that name.
  int index(const std::string& name) const {
    const auto& threads = process().threads;
    const auto at = std::find_if(threads.begin(), threads.end(), [&](const auto& t) { return t.name == name; });
    return at == threads.end() ? -1 : static_cast<int>(at - threads.begin());
  }
  std::vector<stack::Frame> frames(std::size_t thread) const {
    std::vector<stack::Frame> all;
    const stack::ProcessStacks& stacks = digest.processes.at(0);
    for (const std::uint32_t frame : stacks.threads.at(thread).frames) all.push_back(stacks.frames.at(frame));
    return all;
  }
  bool has(const std::string& thread, const std::string& function) const {
    const int at = index(thread);
    if (at < 0) return false;
    for (const stack::Frame& frame : frames(static_cast<std::size_t>(at)))
      if (frame.function.find(function) != std::string::npos) return true;
    return false;
  }
  stack::Answer answer(const stack::Options& options = {}) const { return stack::render_answer(shown(), options); }
  std::string text(const stack::Options& options = {}) const {
    return stack::render_text(shown(), answer(options), options);
  }
  std::string folded() const { return stack::render_folded(shown()); }
  std::deque<stack::ShownProcess> shown() const { return stack::merge(gathered, digest); }
};

struct Handles {
  explicit Handles(pid_t pid)
      : pid(pid),
        pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))),
        proc_fd(::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}
  stack::Process process() const { return {pid, pidfd.get(), proc_fd.get()}; }
  pid_t pid;
  stack::UniqueFd pidfd, proc_fd;
};

inline Dump dump(const Handles& handles, const stack::Options& options, stack::Hold& hold) {
  Dump result{stack::gather({handles.process()}, options, hold), {}};
  if (!result.gathered.cancelled) result.digest = stack::digest(result.gathered, options, hold);
  return result;
}
inline Dump dump(pid_t pid, const stack::Options& options = {}) {
  TestHold hold;
  Dump result = dump(Handles{pid}, options, hold);
  CHECK(hold.begun == hold.ended);
  return result;
}

inline std::string status(pid_t pid, pid_t tid, const std::string& key) {
  const auto text = stack::read_below(
      AT_FDCWD, "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/status", 16 * 1024);
  return text ? std::string(stack::status_value(*text, key)) : std::string{};
}

// No thread is traced, and none stands still for a tracer.
inline bool is_left_alone(pid_t pid) {
  const Handles handles{pid};
  for (const pid_t tid : stack::list_threads(handles.proc_fd.get())) {
    const std::string tracer = status(pid, tid, "TracerPid"), state = status(pid, tid, "State");
    if (!tracer.empty() && (tracer != "0" || state.starts_with("t"))) return false;
  }
  return true;
}

// A folder that others may enter too, gone at the end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/hatchd-stack-XXXXXX";
    REQUIRE(::mkdtemp(name));
    path_ = name;
    std::filesystem::permissions(path_, std::filesystem::perms{0755});
  }
  Folder(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace stack_test
