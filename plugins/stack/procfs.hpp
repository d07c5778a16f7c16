// Reading /proc of one process through its directory descriptor, which never leads to a successor of the same number.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stack {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// The first `limit` bytes of a file below `directory`; nullopt with errno set when it cannot be read.
std::optional<std::string> read_below(int directory, const std::string& path, std::size_t limit);

// The same of a file that is one short record, by one read(2), which is one consistent answer.
std::optional<std::string> read_record(int directory, const std::string& path);

// A file below the target's root directory, whose symbolic links are resolved within it (openat2(2)). `flags` as of
// open(2), O_CLOEXEC added. None: errno is set.
UniqueFd open_below_root(int proc_fd, const std::string& path, int flags);

// The first `limit` bytes from where the descriptor stands; nullopt with errno set.
std::optional<std::string> read_all(int fd, std::size_t limit);

// Where a symbolic link below `directory` leads; nullopt with errno set.
std::optional<std::string> link_below(int directory, const std::string& path);

struct Stat {
  std::string name;  // raw: a thread may call itself anything
  char state = '?';
};
// The content of a stat file. The name stands in parentheses, unescaped: it ends at the last ')' (proc(5)).
std::optional<Stat> parse_stat(std::string_view text);

// The value of `key` in a status file, without blanks around it; empty when it is not there.
std::string_view status_value(std::string_view status, std::string_view key);

// Is the signal in a set of a status file: "SigCgt" (caught), "SigIgn" (ignored)? Bit n-1 is signal n (proc(5)).
bool has_signal(std::string_view status, std::string_view set, int signal);

// What a process or thread calls itself: its number in the innermost pid namespace, which NSpid has last; 0 when the
// status file does not say.
pid_t own_number(std::string_view status);

// As whom a process opens files: the last of the four numbers of Uid.
std::optional<uid_t> file_system_user(std::string_view status);

// A process that has ended, zombie or not. `pidfd` may be -1: then it is asked of /proc. `wait_ms`: how long to wait
// for an end that is under way.
bool has_ended(int pidfd, int proc_fd, int wait_ms = 0);

}  // namespace stack
