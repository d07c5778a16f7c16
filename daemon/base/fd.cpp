#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

// strerrorname_np(3), strerrordesc_np(3): glibc 2.32; unlike strerror() safe in every thread.
namespace hatchd {

Result<std::string> read_all(int fd, std::size_t max) {
  constexpr std::size_t least = 16 * 1024;
  std::string content;
  // A file that says how long it is is read in one piece, with room for the read that finds its end.
  struct stat info {};
  const bool says = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0;
  std::size_t piece = std::max(least, says ? std::min(static_cast<std::size_t>(info.st_size), max) : 0);
  content.reserve(piece + least);
  for (;; piece = least) {
    const std::size_t had = content.size();
    content.resize(had + piece);
    const ssize_t n = ::read(fd, content.data() + had, content.size() - had);
    content.resize(had + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse("malformed", "read: " + errno_text(errno));
    if (n == 0) return content;
    if (content.size() > max) {
      errno = EFBIG;
      return refuse("malformed", "more than " + std::to_string(max) + " bytes");
    }
  }
}

Result<std::string> read_file_at(int dirfd, const char* path, std::size_t max) {
  // Not blocking: whoever can write the folder could have put a FIFO there, whose open waits for a writer.
  const UniqueFd file{::openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
  if (!file) return refuse("malformed", std::string(path) + ": " + errno_text(errno));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    errno = EINVAL;
    return refuse("malformed", std::string(path) + " is not a regular file");
  }
  return read_all(file.get(), max);
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

Result<UniqueFd> sealed_memfd(const char* name, std::string_view bytes) {
  UniqueFd fd{::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd || !write_all(fd.get(), bytes) || ::lseek(fd.get(), 0, SEEK_SET) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return refuse("internal", "memfd: " + errno_text(errno));
  return fd;
}

Result<std::string> read_memfd(int fd, std::size_t max) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return refuse("malformed", "fstat: " + errno_text(errno));
  if (!S_ISREG(info.st_mode)) return refuse("malformed", "not a memory file");
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > max) return refuse("malformed", "more than " + std::to_string(max) + " bytes");
  std::string content(size, '\0');
  // pread and not mmap: a descriptor that is not sealed may shrink meanwhile, and that must not be a SIGBUS.
  std::size_t at = 0;
  while (at < size) {
    const ssize_t n = ::pread(fd, content.data() + at, size - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse("malformed", "pread: " + errno_text(errno));
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  content.resize(at);
  return content;
}

std::vector<pid_t> children_of_this_process() {
  const std::string self = std::to_string(::getpid());
  const auto text = read_file_at(AT_FDCWD, ("/proc/" + self + "/task/" + self + "/children").c_str(), 1024 * 1024);
  std::vector<pid_t> pids;
  for (std::size_t at = 0; text && at < text->size();) {
    const std::size_t end = std::min(text->find(' ', at), text->size());
    pid_t pid = 0;
    std::from_chars(text->data() + at, text->data() + end, pid);
    if (pid > 0) pids.push_back(pid);
    at = end + 1;
  }
  return pids;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65'536);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string errno_text(int error) {
  const char* name = ::strerrorname_np(error);
  const char* words = ::strerrordesc_np(error);
  if (!name || !words) return "error " + std::to_string(error);
  return std::string(name) + " (" + words + ")";
}

}  // namespace hatchd
