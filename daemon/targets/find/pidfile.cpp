// By a file that holds the number. Such a file outlives its process more often than not, and may be planted: it must be
// a regular file of root or of the process's own user that nobody else can write, and older than no process it names.
#include <fcntl.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <cerrno>
#include <charconv>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

class ByPidfile : public Finder {
 public:
  explicit ByPidfile(std::string path) : path_(std::move(path)) {}
  Shape shape() const override { return Shape::one; }
  std::string what() const override { return "process named in " + path_; }

  Result<std::optional<pid_t>> begin() override {
    doubt_.reset();
    const UniqueFd file{::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)};
    if (!file && errno == ELOOP) return refuse(gone, path_ + " is a symbolic link, which is not followed");
    if (!file && errno == EACCES)
      return refuse(gone, path_ + " cannot be read", "Let hatchd's user read the pid file.");
    if (!file) return refuse(gone, path_ + ": " + errno_text(errno));
    struct stat info {};
    if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return refuse(gone, path_ + " is not a regular file");
    if (info.st_mode & (S_IWGRP | S_IWOTH))
      return refuse(gone, path_ + " can be written by others than its owner, so it says nothing",
                    "Take the write permission of group and others off the pid file: chmod go-w " + path_);
    if (info.st_nlink != 1)
      return refuse(gone, path_ + " has another name, by which somebody else may have put it there",
                    "Let the program write a pid file of its own, with one link.");
    owner_ = info.st_uid;
    written_ = WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::seconds(info.st_mtim.tv_sec) +
                                                                       std::chrono::nanoseconds(info.st_mtim.tv_nsec)));
    // Some programs write more lines below the number (postmaster.pid).
    std::string text(64, '\0');
    const ssize_t n = ::read(file.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), pid);
    const bool ended = end == text.data() + text.size() || *end == '\n' || *end == ' ' || *end == '\r';
    if (error != std::errc{} || !ended || pid < 1) return refuse(gone, path_ + " holds no process number");
    doubt_ = Problem{gone, path_ + " names process " + std::to_string(pid) + ", which does not exist"};
    return std::optional(pid);
  }

  bool fits(pid_t pid, int directory) override {
    const auto stat = read_stat(directory);
    const auto status = read_status(directory);
    if (!stat || !status) return false;
    const std::string named = path_ + " names process " + std::to_string(pid);
    if (owner_ != 0 && owner_ != status->uid) {
      doubt_ = Problem{gone, named + ", but the file belongs to neither root nor the user of that process"};
      return false;
    }
    // Two seconds for clocks and file systems of coarse resolution.
    if (wall_time(stat->started_ticks) > written_ + std::chrono::seconds(2)) {
      doubt_ =
          Problem{gone, named + ", which started after the file was written: the number was given to another process"};
      doubt_->remedy = "Restart the target, so that it writes its pid file anew.";
      return false;
    }
    return true;
  }
  std::optional<Problem> doubt() const override { return doubt_; }

 private:
  std::string path_;
  uid_t owner_ = 0;
  WallTime written_;
  std::optional<Problem> doubt_;
};

}  // namespace

Made by_pidfile(const json::value& value, const Context&) {
  auto path = path_value(value);
  if (!path) return tl::unexpected(path.error());
  return std::make_unique<ByPidfile>(std::move(*path));
}

}  // namespace hatchd::targets
