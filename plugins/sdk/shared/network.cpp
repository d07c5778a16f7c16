#include "hatch/network.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "hatch/access.hpp"

namespace hatch {

namespace {

constexpr unsigned cap_sys_admin = 21;  // linux/capability.h

// A file of /proc/PID/net is another one in every network namespace, and to see which takes no right.
Network network_of(const hatch_process& process) {
  struct stat theirs {
  }, ours{};
  if (::fstatat(process.proc_fd, "net/dev", &theirs, 0) != 0 || ::stat("/proc/self/net/dev", &ours) != 0)
    return Network::unknown;
  return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino ? Network::own : Network::other;
}

Failure refused(Network where, int error, bool able, std::string_view part) {
  const std::string begin = where == Network::other ? "the target is in another network namespace, and "
                                                    : "which network namespace the target is in cannot be seen, and ";
  const std::string instead =
      "; or run hatchd in the target's network namespace (a sidecar in its pod; systemd: JoinsNamespaceOf=), or leave "
      "network=target out";
  if (!able)
    return Failure::rights(begin + "hatchd may not enter it", {"CAP_SYS_ADMIN (the rights set full)"},
                           "write \"plugins\": {\"" + std::string(part) +
                               "\": {\"capabilities\": [\"sys_admin\"]}} into the configuration and restart hatchd as "
                               "root, or with systemd's drop-in /usr/share/hatchd/rights/full.conf" +
                               instead);
  if (error == -EPERM)
    return Failure::rights(begin + "the kernel refuses to let hatchd enter it, though it has CAP_SYS_ADMIN",
                           {"CAP_SYS_ADMIN in the user namespace that the target's network belongs to"},
                           "run hatchd in that user namespace or in one above it, and without a filter that forbids "
                           "setns(2) (systemd: RestrictNamespaces=net; a container's seccomp profile)" +
                               instead);
  return Failure::rights(begin + "hatchd may not open it", {"CAP_SYS_PTRACE, or the target's user"},
                         "systemd: AmbientCapabilities=CAP_SYS_PTRACE in hatchd's unit" + instead);
}

}  // namespace

Network use_network(const Run& run, bool of_target, std::string_view part) {
  const std::vector<hatch_process> processes = run.processes();
  const auto found = std::find_if(processes.begin(), processes.end(), [](const auto& one) { return one.main != 0; });
  const hatch_process* main = found != processes.end() ? &*found : processes.empty() ? nullptr : &processes.front();
  if (of_target && main == nullptr) {
    Failure failure("network=target takes a target");
    failure.remedy = "name one: target=NAME";
    throw Failure(failure);
  }
  const Network where = main == nullptr ? Network::own : network_of(*main);
  const bool enter = of_target && where != Network::own;
  const bool able = enter && (access_facts(main->pid, main->proc_fd).own.capabilities >> cap_sys_admin & 1) != 0;
  const auto* extension = static_cast<const NetworkExtension*>(run.extension(network_extension));
  const int error = extension == nullptr ? -ENOSYS : extension->choose(run.handle(), enter ? 1 : 0);
  if (error == -ENOTRECOVERABLE) throw std::runtime_error("CAP_SYS_ADMIN cannot be given up");
  if (!enter) return where;
  if (error != 0) throw refused(where, error, able, part);
  return Network::target;
}

}  // namespace hatch
