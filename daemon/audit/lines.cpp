#include "audit/lines.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hatchd::audit {

namespace {

tl::unexpected<Problem> unwritable(const std::string& what, int error) {
  return refuse("audit-unwritable", what + ": " + errno_text(error),
                "make room where the audit is kept, or mend the rights of its folder");
}

}  // namespace

std::string rotated_name(const std::string& name, unsigned number) {
  return number == 0 ? name : name + "." + std::to_string(number);
}

Result<void> Lines::open() {
  struct stat there {
  }, ours{};
  const bool exists = ::fstatat(directory_, name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && file_ && ::fstat(file_.get(), &ours) == 0 && ours.st_ino == there.st_ino &&
      ours.st_dev == there.st_dev) {
    size_ = static_cast<std::uint64_t>(there.st_size);  // somebody may have truncated it
    return {};
  }
  // Not blocking: a FIFO in its place must not keep us.
  UniqueFd file{::openat(directory_, name_.c_str(),
                         O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600)};
  if (!file) return unwritable("cannot open " + name_, errno);
  if (::fstat(file.get(), &ours) != 0 || !S_ISREG(ours.st_mode))
    return unwritable(name_ + " is not a regular file", EINVAL);
  file_ = std::move(file);
  size_ = static_cast<std::uint64_t>(ours.st_size);
  if (size_ > 0 && !cut_torn_line(size_)) {
    const int error = errno;
    file_.reset();
    return unwritable("cannot repair " + name_, error);
  }
  if (!exists && ::fsync(directory_) != 0) return unwritable("cannot sync the folder of " + name_, errno);
  return {};
}

// What follows the last line break is a line that was not written to its end.
bool Lines::cut_torn_line(std::uint64_t size) {
  std::uint64_t whole = size;
  std::string piece;
  while (whole > 0) {
    const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(whole, 64 * 1024));
    piece.resize(length);
    const ssize_t n = ::pread(file_.get(), piece.data(), length, static_cast<off_t>(whole - length));
    if (n != static_cast<ssize_t>(length)) return false;
    const std::size_t at = piece.rfind('\n');
    if (at != std::string::npos) {
      whole = whole - length + at + 1;
      break;
    }
    whole -= length;
  }
  if (whole == size) return true;
  if (::ftruncate(file_.get(), static_cast<off_t>(whole)) != 0) return false;
  cut_ += size - whole;
  size_ = whole;
  return true;
}

Result<void> Lines::rotate() {
  // What is renamed shall be complete: nobody syncs it later.
  if (::fsync(file_.get()) != 0) return unwritable("cannot sync " + name_, errno);
  for (unsigned number = bounds_.keep + 1;
       ::unlinkat(directory_, rotated_name(name_, number).c_str(), 0) == 0 && number < bounds_.keep + 1000; ++number) {
  }
  if (bounds_.keep == 0) ::unlinkat(directory_, name_.c_str(), 0);
  for (unsigned number = bounds_.keep; number > 0; --number)
    if (::renameat(directory_, rotated_name(name_, number - 1).c_str(), directory_,
                   rotated_name(name_, number).c_str()) != 0 &&
        errno != ENOENT)
      return unwritable("cannot rotate " + name_, errno);
  file_.reset();
  return open();
}

Result<void> Lines::append(std::string_view text, bool durable) {
  if (auto opened = open(); !opened) return opened;
  if (size_ > 0 && size_ + text.size() > bounds_.bytes)
    if (auto rotated = rotate(); !rotated) return rotated;
  if (!write_all(file_.get(), text) || (durable && ::fsync(file_.get()) != 0)) {
    const int error = errno;
    // Half of it must not stay. Should even that fail, the next open() cuts.
    if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) file_.reset();
    return unwritable("cannot write " + name_, error);
  }
  size_ += text.size();
  return {};
}

Result<void> Lines::sync() {
  if (file_ && ::fsync(file_.get()) != 0) return unwritable("cannot sync " + name_, errno);
  return {};
}

}  // namespace hatchd::audit
