// Everything but the environment lies where the target may have planted it: links to files of others, FIFOs that block,
// devices. So a path is first opened with O_PATH, which touches nothing, judged by what it turned out to be, and that
// very file is then opened for reading through /proc/self/fd.
#include "targets/files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <boost/json.hpp>
#include <cerrno>

#include "base/json.hpp"
#include "targets/find/finder.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

constexpr off_t max_resolver_file = 1024 * 1024;
constexpr const char* failed = "run-failed";  // no right and no target is missing: the file is not to be had

tl::unexpected<Problem> refused(int error, const Process& process, const std::string& what) {
  const std::string detail = what + " of process " + std::to_string(process.pid()) + ": " + errno_text(error);
  if (error == ESRCH) return refuse(gone, detail);
  if (error != EACCES && error != EPERM) return refuse(failed, detail);
  const auto status = read_status(process.directory());
  return tl::unexpected(
      lacking(detail, {"sys_ptrace", "dac_read_search"}, status ? std::optional(status->uid) : std::nullopt));
}

UniqueFd open_path(int base, const std::string& path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = resolve | RESOLVE_NO_MAGICLINKS;
  return UniqueFd{static_cast<int>(::syscall(SYS_openat2, base, path.c_str(), &how, sizeof how))};
}

UniqueFd open_root(const Process& process) {
  return UniqueFd{::openat(process.directory(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC)};
}

Result<UniqueFd> for_reading(const UniqueFd& path, const Process& process, const std::string& what) {
  const std::string link = "/proc/self/fd/" + std::to_string(path.get());
  UniqueFd file{::open(link.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
  if (!file) return refused(errno, process, what);
  return file;
}

// Links are followed: resolv.conf often is one. They mean the target's root, and the file is small and regular.
Result<UniqueFd> resolver_file(const Process& process, const std::string& name) {
  const std::string what = "/etc/" + name;
  const UniqueFd root = open_root(process);
  if (!root) return refused(errno, process, "the root directory");
  const UniqueFd path = open_path(root.get(), what, RESOLVE_IN_ROOT);
  if (!path) return refused(errno, process, what);
  struct stat info {};
  if (::fstat(path.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return refuse(failed, what + " of the target is not a regular file");
  if (info.st_size > max_resolver_file) return refuse(failed, what + " of the target is larger than 1 MiB");
  return for_reading(path, process, what);
}

bool has_open(const Process& process, const struct stat& file) {
  bool found = false;
  std::size_t seen = 0;
  const UniqueFd fds{::openat(process.directory(), "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fds) return false;
  each_entry(fds.get(), ".", [&](const char* entry) {
    struct stat info {};
    found = ::fstatat(fds.get(), entry, &info, 0) == 0 && info.st_dev == file.st_dev && info.st_ino == file.st_ino;
    return !found && ++seen < 100'000;
  });
  return found;
}

Result<UniqueFd> log_file(const Target& target, const Process& process) {
  const json::object* log = object_of(target.match(), "log");
  const std::string path = log ? text_of(*log, "file") : std::string();
  if (path.empty())
    return refuse(failed, "targets." + target.name() + " has no log file in the configuration",
                  "Add \"log\": {\"file\": PATH} to the target.");
  const UniqueFd own_root{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  const UniqueFd target_root = open_root(process);
  // A container's path means its own root; what is not there may be a volume that hatchd sees at the same place.
  UniqueFd found;
  bool followed = false;
  int error = ENOENT;
  for (const UniqueFd* root : {&target_root, &own_root}) {
    if (found || !*root) continue;
    found = open_path(root->get(), path, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    error = errno;
    if (!found && error == ELOOP) {
      found = open_path(root->get(), path, RESOLVE_IN_ROOT);
      error = errno;
      followed = true;
    }
  }
  if (!found) return refused(error, process, path);
  struct stat info {};
  if (::fstat(found.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return refuse(failed, path + " is not a regular file");
  const auto status = read_status(process.directory());
  const bool trusted = !followed && info.st_nlink == 1 && (info.st_uid == 0 || (status && info.st_uid == status->uid));
  if (!trusted && !has_open(process, info))
    return refuse(failed,
                  path +
                      " may have been planted: it is reached by a symbolic link, has several names, or belongs to "
                      "neither root nor the target's user, and the target does not have it open",
                  "Name the file itself, owned by the target's user.");
  return for_reading(found, process, path);
}

}  // namespace

Result<UniqueFd> open_file(const Target& target, const Process& process, std::string_view file) {
  if (file == "environment") {
    UniqueFd environment{::openat(process.directory(), "environ", O_RDONLY | O_CLOEXEC)};
    if (!environment) return refused(errno, process, "the environment");
    return environment;
  }
  // Good for nothing but setns(2), which takes CAP_SYS_ADMIN.
  if (file == "network") {
    UniqueFd network{::openat(process.directory(), "ns/net", O_RDONLY | O_CLOEXEC)};
    if (!network) return refused(errno, process, "the network namespace");
    return network;
  }
  if (file == "resolv.conf" || file == "hosts" || file == "nsswitch.conf")
    return resolver_file(process, std::string(file));
  if (file == "log") return log_file(target, process);
  return refuse(failed, "there is no such file to ask for");
}

}  // namespace hatchd::targets
