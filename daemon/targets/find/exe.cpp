// By executable: the same file (device and inode), seen from here or from within the process's own root.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/fd.hpp"
#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

bool same(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

class ByExe : public Finder {
 public:
  explicit ByExe(std::string path) : path_(std::move(path)) {}
  Shape shape() const override { return Shape::tree; }
  std::string what() const override { return "process that runs " + path_; }

  Result<std::optional<pid_t>> begin() override {
    exists_ = ::stat(path_.c_str(), &file_) == 0;
    refused_ = false;
    ::stat("/", &root_);
    return std::optional<pid_t>{};
  }

  bool fits(pid_t, int directory) override {
    struct stat exe {};
    if (::fstatat(directory, "exe", &exe, 0) != 0) {
      refused_ = refused_ || errno == EACCES || errno == EPERM;
      return false;
    }
    if (exists_ && same(exe, file_)) return true;
    // An upgrade replaced the file below the running process: then the text is all there is to go by.
    if (exe.st_nlink == 0) return read_link(directory, "exe") == path_ + " (deleted)";
    return fits_in_root(directory, exe);
  }
  std::optional<Problem> doubt() const override {
    if (!refused_) return std::nullopt;
    Problem problem{gone, "no process that hatchd may look into runs " + path_ +
                              "; the executables of other users' processes are hidden from it"};
    problem.remedy =
        "If it runs as another user, give hatchd CAP_SYS_PTRACE, or name the target by \"pidfile\" or \"unit\", which "
        "need no right.";
    return problem;
  }

 private:
  bool fits_in_root(int directory, const struct stat& exe) const {
    struct stat root {};
    if (::fstatat(directory, "root", &root, 0) != 0 || same(root, root_)) return false;
    const UniqueFd base{::openat(directory, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    // Links in there mean that root, not ours (openat2(2)).
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT;
    const UniqueFd file{static_cast<int>(::syscall(SYS_openat2, base.get(), path_.c_str(), &how, sizeof how))};
    struct stat info {};
    return file && ::fstat(file.get(), &info) == 0 && same(info, exe);
  }

  std::string path_;
  bool exists_ = false, refused_ = false;
  struct stat file_ {
  }, root_{};
};

}  // namespace

Made by_exe(const json::value& value, const Context&) {
  auto path = path_value(value);
  if (!path) return tl::unexpected(path.error());
  return std::make_unique<ByExe>(std::move(*path));
}

}  // namespace hatchd::targets
