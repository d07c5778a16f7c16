#include "stack/jvm/attach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <thread>

#include "stack/refusal.hpp"

namespace stack::jvm {
namespace {

using namespace std::chrono_literals;

constexpr auto open_patience = 5s;  // for the socket to appear; 50 ms is usual
constexpr auto silence_patience =
    5s;  // between two pieces of the answer: a VM that cannot reach a safepoint hangs here
constexpr auto answer_patience = 15s;
constexpr auto poll_step = 20ms;
// What HotSpot walks of its heap in a microsecond to find the owners of java.util.concurrent locks, on the safe side.
constexpr std::uint64_t heap_bytes_per_us = 2000;

struct Ids {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The n-th (from 0) number of a status value such as "1000\t1000\t1000\t1000".
template <class Number>
bool number_at(std::string_view value, unsigned n, Number& number) {
  for (;;) {
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{}) return false;
    if (n-- == 0) return true;
    value.remove_prefix(static_cast<std::size_t>(end - value.data()));
  }
}

Trouble other(std::string detail, std::string remedy = {}) {
  return {Trouble::Kind::other, std::move(detail), {}, std::move(remedy)};
}

Trouble gone(pid_t pid) { return {Trouble::Kind::gone, "process " + std::to_string(pid) + " has ended", {}, {}}; }

// For the calling thread alone, hence not by glibc, which would change all of them (nptl(7)). Real and saved ids stay:
// so no process of that user gets a hold on us, and the way back is open. The thread ends with them.
bool take_ids(const Ids& ids) {
  constexpr auto same = -1;
  if (ids.gid != ::getegid() && ::syscall(SYS_setresgid, same, ids.gid, same) != 0) return false;
  return ids.uid == ::geteuid() || ::syscall(SYS_setresuid, same, ids.uid, same) == 0;
}

// The option that switches the attach socket off, where it can be seen from outside; a file of options cannot.
std::string disabling_option(const Process& process) {
  constexpr std::string_view option = "-XX:+DisableAttachMechanism";
  constexpr std::size_t limit = std::size_t{1} << 20;
  const auto command = read_below(process.proc_fd, "cmdline", limit);
  if (command && command->find(option) != std::string::npos) return std::string(option);
  const auto environment = read_below(process.proc_fd, "environ", limit);
  for (std::size_t at = 0; environment && at < environment->size();) {
    const std::size_t end = std::min(environment->find('\0', at), environment->size());
    const std::string_view variable = std::string_view{*environment}.substr(at, end - at);
    for (const std::string_view name : {"JAVA_TOOL_OPTIONS=", "JDK_JAVA_OPTIONS=", "_JAVA_OPTIONS="})
      if (variable.starts_with(name) && variable.find(option) != variable.npos)
        return std::string(option) + " in " + std::string(name.substr(0, name.size() - 1));
    at = end + 1;
  }
  return {};
}

// The trigger file, which the VM takes only from its own user or root. Removed with this object, if it made it.
class Trigger {
 public:
  Trigger(const UniqueFd& tmp, const UniqueFd& cwd, std::string name, uid_t owner) : name_(std::move(name)) {
    for (const UniqueFd* folder : {&tmp, &cwd}) {
      if (!*folder) continue;
      const UniqueFd made{
          ::openat(folder->get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
      struct stat info {};
      if (!made) {
        // Of another client of the same moment, or left by one.
        valid_ = errno == EEXIST && ::fstatat(folder->get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISREG(info.st_mode) && (info.st_uid == owner || info.st_uid == 0);
        if (valid_) return;
        if (error_ == 0) error_ = errno;
        continue;
      }
      folder_ = folder->get();
      // A file system that maps owners (NFS, some overlays) may have given it to somebody else.
      valid_ = ::fstat(made.get(), &info) == 0 && (info.st_uid == owner || info.st_uid == 0);
      if (valid_) return;
      remove();
    }
  }
  Trigger(const Trigger&) = delete;
  ~Trigger() { remove(); }
  explicit operator bool() const { return valid_; }
  int error() const { return error_; }

 private:
  void remove() {
    if (folder_ >= 0) ::unlinkat(folder_, name_.c_str(), 0);
    folder_ = -1;
  }
  std::string name_;
  int folder_ = -1;
  int error_ = 0;
  bool valid_ = false;
};

// One dialogue with one VM.
class Attach {
 public:
  // An empty command: a thread dump.
  Attach(const Process& process, pid_t living, bool act, Hold& hold, std::string command = {},
         std::string argument = {})
      : process_(process),
        living_(living),
        act_(act),
        hold_(hold),
        command_(std::move(command)),
        argument_(std::move(argument)) {}

  Dump run() {
    if (!look()) return std::move(dump_);
    // A thread of its own, since it takes the ids of the target.
    std::exception_ptr bug;
    std::thread([&] {
      try {
        take_ids(ids_);  // where it may not, the VM or its files say no below
        talk();
      } catch (...) {
        bug = std::current_exception();
      }
    }).join();
    if (bug) std::rethrow_exception(bug);
    return std::move(dump_);
  }

 private:
  bool fail(Trouble trouble) {
    dump_.text.clear();
    dump_.trouble = has_ended(process_.pidfd, process_.proc_fd) ? gone(process_.pid) : std::move(trouble);
    return false;
  }
  bool cancelled() { return dump_.cancelled = dump_.cancelled || hold_.cancelled(); }

  // What takes our own rights: /proc of the target.
  bool look() {
    const std::string thread = "task/" + std::to_string(living_) + "/";
    const auto status = read_below(process_.proc_fd, thread + "status", 16 * 1024);
    const auto process = read_below(process_.proc_fd, "status", 16 * 1024);
    if (!status || !process) return fail(gone(process_.pid));
    own_pid_ = own_number(*process);
    if (own_pid_ == 0 || !number_at(status_value(*status, "Uid"), 1, ids_.uid) ||
        !number_at(status_value(*status, "Gid"), 1, ids_.gid))
      return fail(other("/proc/" + std::to_string(process_.pid) + "/status does not say who it is"));
    if (const std::string_view state = status_value(*status, "State"); state.starts_with('T') || state.starts_with('t'))
      return fail(other("the process is stopped, so its VM cannot answer", "continue it (kill -CONT)"));
    tmp_ = open_below_root(process_.proc_fd, "/tmp", O_PATH | O_DIRECTORY);
    if (!tmp_ && (errno == EACCES || errno == EPERM))
      return fail(explain_refusal(process_, living_, Refused::private_file));
    if (!tmp_) return fail(other("/tmp of the target, where its attach socket is, cannot be opened"));
    cwd_ = UniqueFd{::openat(process_.proc_fd, "cwd", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    socket_name_ = ".java_pid" + std::to_string(own_pid_);
    // Owners of java.util.concurrent locks take a walk through the heap in which all threads stand still.
    std::uint64_t resident_kb = 0;
    number_at(status_value(*process, "VmRSS"), 0, resident_kb);
    dump_.locks = resident_kb * 1024 <= static_cast<std::uint64_t>(hold_.max_pause().count()) * heap_bytes_per_us;
    if (find_socket()) return true;
    if (!dump_.trouble.detail.empty()) return false;
    return may_open();
  }

  // False without a trouble: it is not there.
  bool find_socket() {
    socket_ = UniqueFd{::openat(tmp_.get(), socket_name_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!socket_) return false;
    struct stat info {};
    if (::fstat(socket_.get(), &info) == 0 && S_ISSOCK(info.st_mode) && info.st_uid == ids_.uid) return true;
    socket_ = {};
    return fail(other("/tmp/" + socket_name_ + " is no socket of the JVM's user: somebody else put it there",
                      "remove it, after a look at who made it"));
  }

  bool may_open() {
    const std::string absent = "the JVM's attach socket (/tmp/" + socket_name_ + ") is not open";
    if (const std::string option = disabling_option(process_); !option.empty())
      return fail(other("the JVM was started with " + option, "start it without; native stacks need nothing of it"));
    const auto status = read_below(process_.proc_fd, "task/" + std::to_string(living_) + "/status", 16 * 1024);
    if (!status) return fail(gone(process_.pid));
    // Whatever it is by name, a process that does not catch SIGQUIT ends by it.
    if (!has_signal(*status, "SigCgt", SIGQUIT))
      return fail(other(absent + ", and the SIGQUIT that opens it would kill this process, which does not catch it "
                                 "(-Xrs, or it is still starting)",
                        "start the JVM without -Xrs, or with -XX:+StartAttachListener"));
    if (!act_)
      return fail(other(absent + " yet; a SIGQUIT opens it, which is an act: act=true would add the Java stacks",
                        "act=true, or start the JVM with -XX:+StartAttachListener"));
    return true;
  }

  void talk() {
    if (socket_ || open_socket()) ask();
  }

  bool open_socket() {
    const Trigger trigger{tmp_, cwd_, ".attach_pid" + std::to_string(own_pid_), ids_.uid};
    if (!trigger)
      return fail(other("no file .attach_pid" + std::to_string(own_pid_) +
                            " can be made for the JVM's user in its /tmp or working directory" +
                            (trigger.error() ? std::string(": ") + std::strerror(trigger.error()) : std::string()),
                        "a writable /tmp for the JVM, and for hatchd the right to act as its user"));
    if (has_ended(process_.pidfd, process_.proc_fd)) return fail(gone(process_.pid));
    if (::syscall(SYS_pidfd_send_signal, process_.pidfd, SIGQUIT, nullptr, 0) != 0) {
      if (errno != EPERM) return fail(gone(process_.pid));
      return fail(lacks_ids("SIGQUIT may not be sent to the JVM"));
    }
    const auto end = Clock::now() + open_patience;
    while (!find_socket()) {
      if (!dump_.trouble.detail.empty()) return false;
      if (cancelled() || has_ended(process_.pidfd, process_.proc_fd)) return fail(gone(process_.pid));
      if (Clock::now() > end)
        return fail(
            other("the JVM has not opened its attach socket within 5 s of a SIGQUIT: it hangs, or its attach "
                  "mechanism is switched off, and then the dump went to its standard output"));
      std::this_thread::sleep_for(poll_step);
    }
    return true;
  }

  Trouble lacks_ids(const std::string& what) const {
    return {Trouble::Kind::rights,
            what + ": it serves user " + std::to_string(ids_.uid) + ", group " + std::to_string(ids_.gid) +
                " alone, and hatchd is user " + std::to_string(::geteuid()) + ", group " + std::to_string(::getegid()),
            {"CAP_SETUID", "CAP_SETGID"},
            "grant hatchd the right to act as the target's user (docs/plugins/stack.md), or run it as that user and "
            "group"};
  }

  // Waits for the descriptor. False: out of patience or cancelled.
  bool wait(int fd, short events, Clock::time_point end) {
    while (!cancelled()) {
      pollfd ready{fd, events, 0};
      if (::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds{poll_step}.count())) > 0) return true;
      if (Clock::now() > end) return false;
    }
    return false;
  }

  // The very socket that was looked at, whatever its path leads to by now.
  UniqueFd connect_to_vm() {
    UniqueFd vm{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", socket_.get());
    const auto end = Clock::now() + silence_patience;
    while (vm && ::connect(vm.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (errno == EINTR) continue;
      // Its queue is full of clients that wait: it serves one at a time.
      const bool full = errno == EAGAIN && !cancelled() && Clock::now() < end;
      if (!full) return {};
      std::this_thread::sleep_for(poll_step);
    }
    return vm;
  }

  bool ask() {
    const UniqueFd vm = connect_to_vm();
    if (cancelled()) return false;
    const std::string path = "/tmp/" + socket_name_;
    if (!vm && (errno == EACCES || errno == EPERM)) return fail(lacks_ids("the JVM's attach socket may not be opened"));
    if (!vm && errno == ECONNREFUSED)
      return fail(other("nobody listens at " + path +
                            ", which another process of that number left behind, or the "
                            "JVM's listener has ended",
                        "remove " + path + "; the next dump with act=true opens a new one"));
    if (!vm && errno == EAGAIN) return fail(hangs());
    if (!vm) return fail(other("the JVM's attach socket: " + std::string(std::strerror(errno))));

    // "1", the command and three arguments, each with a NUL. JDK 8 knows "-l" only as the whole of the first.
    std::string request{"1\0threaddump\0", 13};
    request += dump_.locks ? std::string{"-l\0\0\0", 5} : std::string(3, '\0');
    if (!command_.empty()) request = std::string{"1\0", 2} + command_ + '\0' + argument_ + std::string(3, '\0');
    const auto asked = Clock::now();
    if (::send(vm.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      return fail(lacks_ids("the JVM closed the connection"));
    return read_answer(vm, asked);
  }

  bool read_answer(const UniqueFd& vm, Clock::time_point asked) {
    std::string answer;
    const auto end = asked + answer_patience;
    std::size_t room = 64 * 1024;
    for (;;) {
      if (!wait(vm.get(), POLLIN, std::min(end, Clock::now() + silence_patience))) {
        if (cancelled()) return false;
        return fail(hangs());
      }
      const std::size_t had = answer.size();
      answer.resize(had + room);
      const ssize_t n = ::recv(vm.get(), answer.data() + had, room, 0);
      answer.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (had == 0) dump_.safepoint = micros_since(asked);
      // A VM that does not serve us closes without a word, with data of ours unread: a reset.
      if (n < 0 && had == 0) return fail(lacks_ids("the JVM closed the connection without an answer"));
      if (n <= 0) break;
      if (answer.size() > text_limit) {
        answer.resize(text_limit);
        dump_.cut = true;
        break;
      }
      room = std::clamp<std::size_t>(answer.size(), 64 * 1024, std::size_t{4} << 20);
    }
    if (answer.empty()) return fail(lacks_ids("the JVM closed the connection without an answer"));
    if (!answer.starts_with("0\n")) return fail(other("the JVM refuses: " + answer.substr(0, 200)));
    dump_.text = std::move(answer);
    dump_.text.erase(0, 2);
    return true;
  }

  static Trouble hangs() {
    return other(
        "the JVM does not answer at its attach socket: it hangs, or does not reach the safepoint that a dump "
        "takes");
  }

  const Process& process_;
  const pid_t living_;
  const bool act_;
  Hold& hold_;
  const std::string command_, argument_;
  Dump dump_;
  pid_t own_pid_ = 0;  // in the innermost pid namespace
  Ids ids_;
  UniqueFd tmp_, cwd_, socket_;
  std::string socket_name_;
};

}  // namespace

Dump dump_threads(const Process& process, pid_t living, bool act, Hold& hold) {
  return Attach{process, living, act, hold}.run();
}

Dump ask(const Process& process, pid_t living, bool act, Hold& hold, std::string command, std::string argument) {
  return Attach{process, living, act, hold, std::move(command), std::move(argument)}.run();
}

}  // namespace stack::jvm
