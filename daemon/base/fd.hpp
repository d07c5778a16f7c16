// Descriptors with an owner.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/problem.hpp"

namespace hatchd {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// Runs at the end of the scope.
template <class F>
class Defer {
 public:
  explicit Defer(F f) : f_(std::move(f)) {}
  Defer(const Defer&) = delete;
  ~Defer() { f_(); }

 private:
  F f_;
};

// Everything readable from `fd` from its current position, at most `max` bytes; more is a refusal (`malformed`).
// Works for /proc files, whose size is 0 until they are read.
Result<std::string> read_all(int fd, std::size_t max);
// The same for a regular file at a path relative to a directory descriptor; links are not followed. errno stays set on
// failure.
Result<std::string> read_file_at(int dirfd, const char* path, std::size_t max);

// Writes all of `bytes`; false with errno set.
bool write_all(int fd, std::string_view bytes);

// An anonymous file that holds `bytes`, sealed against every change, positioned at 0: the reader need not fear that it
// shrinks.
Result<UniqueFd> sealed_memfd(const char* name, std::string_view bytes);
// The whole content of a memfd received from another process, which may lie about it; refused beyond `max`.
Result<std::string> read_memfd(int fd, std::size_t max);

// The processes whose parent the calling thread is, from /proc/PID/task/TID/children (proc(5)). Exact enough: who appears
// while we read is seen the next time. Empty where the kernel lacks CONFIG_PROC_CHILDREN.
std::vector<pid_t> children_of_this_process();

// Raises the soft limit on descriptors to the hard one, at most 65536. The soft limit of 1024 is for programs that use
// select(2).
void raise_descriptor_limit();

// strerror_r with the name: "ENOENT (No such file or directory)".
std::string errno_text(int error);

}  // namespace hatchd
