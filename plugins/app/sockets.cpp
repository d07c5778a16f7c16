#include "app/sockets.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace app {

namespace {

constexpr std::size_t max_environment = 1024 * 1024;
constexpr std::size_t max_status = 16 * 1024;

// Links within the target's root are the target's own; the way never leads out of it.
stack::UniqueFd open_folder(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return stack::UniqueFd{static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how))};
}

// 0, or the errno of the attempt. Never waits: a queue that is full is EAGAIN.
int connect_to(int folder, const std::string& name, stack::UniqueFd& out) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(folder) + "/" + name;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  stack::UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) return errno;
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
  out = std::move(fd);
  return 0;
}

int listener_of(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : -1;
}

std::string sentence_of(int error) {
  switch (error) {
    case ECONNREFUSED: return "nobody listens on it: it was left by a process that has ended";
    case EAGAIN: return "it takes no calls: its queue is full, so the process has not looked at it for a while";
    default: return std::strerror(error);
  }
}

void lacks(Door& door, const std::string& what, int error, const char* right, const char* remedy) {
  door.why = what + ": " + std::strerror(error);
  if (error != EACCES && error != EPERM) return;
  door.missing = right;
  door.remedy = remedy;
}

// True: the way ends here, whether there was a socket or a reason.
bool try_folder(Door& door, int root, const std::string& folder, const std::string& name, int connections) {
  const stack::UniqueFd directory = open_folder(root, folder);
  if (!directory) {
    if (errno != EACCES && errno != EPERM) return false;
    lacks(door, folder, errno, "dac_read_search",
          "give hatchd the capability dac_read_search, or share the folder with it by the group hatch-app");
    return false;  // the next one may do
  }
  stack::UniqueFd first;
  const int error = connect_to(directory.get(), name, first);
  if (error == ENOENT) return false;
  door.path = folder + "/" + name;
  if (error != 0) {
    lacks(door, door.path, error, "write permission on the socket",
          "put hatchd's user into the group that the socket belongs to");
    if (door.missing.empty()) door.why = sentence_of(error);
    return true;
  }
  if (const int pid = listener_of(first.get()); pid != door.process.pid) {
    door.why = "process " + std::to_string(pid) + " serves it, which is not the process that it is named after";
    return true;
  }
  stack::UniqueFd second;
  if (connections > 1 &&
      (connect_to(directory.get(), name, second) != 0 || listener_of(second.get()) != door.process.pid)) {
    door.why = sentence_of(EAGAIN);
    return true;
  }
  door.why.clear();
  door.missing.clear();
  door.first = std::move(first);
  door.second = std::move(second);
  return true;
}

}  // namespace

std::string hatch_dir(std::string_view environ) {
  constexpr std::string_view key = "HATCH_DIR=";
  for (std::size_t at = 0; at < environ.size();) {
    const std::size_t end = std::min(environ.find('\0', at), environ.size());
    const std::string_view entry = environ.substr(at, end - at);
    if (entry.starts_with(key)) {
      const std::string_view value = entry.substr(key.size());
      return value.starts_with('/') && value.size() < 4096 ? std::string(value) : std::string();
    }
    at = end + 1;
  }
  return {};
}

int inner_pid(std::string_view status, int fallback) {
  const pid_t number = stack::own_number(status);
  return number > 0 ? number : fallback;
}

std::vector<Door> find_doors(const hatch::Run& run, int connections) {
  std::vector<Door> doors;
  const std::vector<hatch_process> processes = run.processes();
  for (std::uint32_t i = 0; i < processes.size(); ++i) {
    run.check();
    Door& door = doors.emplace_back();
    door.process = processes[i];
    const int pid =
        inner_pid(stack::read_below(door.process.proc_fd, "status", max_status).value_or(""), door.process.pid);
    stack::UniqueFd root{::openat(door.process.proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const int closed = root ? 0 : errno;
    // Without that right: a folder that both see at the same place. Who serves there is checked in any case.
    if (!root) root = stack::UniqueFd{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    const stack::UniqueFd environment{run.target_file(i, HATCH_FILE_ENVIRONMENT)};
    const std::string configured =
        environment ? hatch_dir(stack::read_all(environment.get(), max_environment).value_or("")) : "";
    std::vector<std::string> folders{"/run/hatch-app", "/tmp/hatch-app-" + std::to_string(door.process.uid)};
    if (!configured.empty()) folders = {configured};
    const std::string name = std::to_string(pid) + ".sock";
    for (const std::string& folder : folders)
      if (try_folder(door, root.get(), folder, name, connections)) break;
    if (closed != 0 && !door.usable() && door.path.empty())
      lacks(door, "its root directory", closed, "sys_ptrace",
            "give hatchd the capability sys_ptrace, or run it as the target's user");
  }
  return doors;
}

}  // namespace app
