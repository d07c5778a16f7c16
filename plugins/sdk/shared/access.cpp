#include "hatch/access.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>

namespace hatch {

namespace {

constexpr unsigned cap_dac_read_search = 2, cap_sys_ptrace = 19;  // linux/capability.h
// capabilities(7), by their numbers in linux/capability.h.
constexpr std::array<std::string_view, 41> capability_names{"CHOWN",
                                                            "DAC_OVERRIDE",
                                                            "DAC_READ_SEARCH",
                                                            "FOWNER",
                                                            "FSETID",
                                                            "KILL",
                                                            "SETGID",
                                                            "SETUID",
                                                            "SETPCAP",
                                                            "LINUX_IMMUTABLE",
                                                            "NET_BIND_SERVICE",
                                                            "NET_BROADCAST",
                                                            "NET_ADMIN",
                                                            "NET_RAW",
                                                            "IPC_LOCK",
                                                            "IPC_OWNER",
                                                            "SYS_MODULE",
                                                            "SYS_RAWIO",
                                                            "SYS_CHROOT",
                                                            "SYS_PTRACE",
                                                            "SYS_PACCT",
                                                            "SYS_ADMIN",
                                                            "SYS_BOOT",
                                                            "SYS_NICE",
                                                            "SYS_RESOURCE",
                                                            "SYS_TIME",
                                                            "SYS_TTY_CONFIG",
                                                            "MKNOD",
                                                            "LEASE",
                                                            "AUDIT_WRITE",
                                                            "AUDIT_CONTROL",
                                                            "SETFCAP",
                                                            "MAC_OVERRIDE",
                                                            "MAC_ADMIN",
                                                            "SYSLOG",
                                                            "WAKE_ALARM",
                                                            "BLOCK_SUSPEND",
                                                            "AUDIT_READ",
                                                            "PERFMON",
                                                            "BPF",
                                                            "CHECKPOINT_RESTORE"};

std::string read_small(int directory, const char* path) {
  const int fd = ::openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {};
  std::string text(16 * 1024, '\0');
  const ssize_t size = ::read(fd, text.data(), text.size());
  ::close(fd);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

// The value of `key` in a status file: all behind "key:\t".
std::string_view value_of(std::string_view status, std::string_view key) {
  for (std::size_t at = 0; at < status.size();) {
    const std::size_t end = std::min(status.find('\n', at), status.size());
    const std::string_view line = status.substr(at, end - at);
    if (line.starts_with(key) && line.substr(key.size()).starts_with(":\t")) return line.substr(key.size() + 2);
    at = end + 1;
  }
  return {};
}

std::array<unsigned, 3> ids_of(std::string_view text) {
  std::array<unsigned, 3> ids{};
  const char *at = text.data(), *end = at + text.size();
  for (unsigned& id : ids) {
    while (at < end && *at == '\t') ++at;
    at = std::from_chars(at, end, id).ptr;
  }
  return ids;
}

Standing standing_of(std::string_view status) {
  Standing standing{ids_of(value_of(status, "Uid")), ids_of(value_of(status, "Gid"))};
  const std::string_view set = value_of(status, "CapPrm");
  std::from_chars(set.data(), set.data() + set.size(), standing.capabilities, 16);
  return standing;
}

bool has(std::uint64_t set, unsigned capability) { return (set >> capability & 1) != 0; }

std::string shown(const std::array<unsigned, 3>& ids) {
  return std::to_string(ids[0]) + "/" + std::to_string(ids[1]) + "/" + std::to_string(ids[2]);
}

std::string names_of(std::uint64_t set) {
  std::string names;
  for (unsigned number = 0; number < 64; ++number)
    if (has(set, number))
      names += (names.empty() ? "CAP_" : ", CAP_") +
               (number < capability_names.size() ? std::string(capability_names[number]) : std::to_string(number));
  return names;
}

bool all_are(const std::array<unsigned, 3>& ids, unsigned id) {
  return std::all_of(ids.begin(), ids.end(), [id](unsigned each) { return each == id; });
}

// A rule that says no, and what would make it say yes besides CAP_SYS_PTRACE; empty: nothing would.
struct Reason {
  std::string what, instead;
};

std::vector<Reason> reasons(const AccessFacts& facts, Look look) {
  std::vector<Reason> all;
  const auto same_id = [](const std::array<unsigned, 3>& ids) { return all_are(ids, ids[0]); };
  const bool uids_fit = all_are(facts.target.uids, facts.own.uids[0]);
  if (!uids_fit)
    all.push_back({"its user ids (real/effective/saved) are " + shown(facts.target.uids) + ", hatchd's are " +
                       shown(facts.own.uids),
                   same_id(facts.target.uids) ? "the user id " + std::to_string(facts.target.uids[0]) : ""});
  if (!all_are(facts.target.gids, facts.own.gids[0])) {
    const std::string instead =
        same_id(facts.target.gids) ? "the group id " + std::to_string(facts.target.gids[0]) : "";
    if (uids_fit)
      all.push_back({"its group ids (real/effective/saved) are " + shown(facts.target.gids) + ", hatchd's are " +
                         shown(facts.own.gids),
                     instead});
    else
      all.back().instead = all.back().instead.empty() || instead.empty() ? "" : all.back().instead + " with " + instead;
  }
  if (facts.undumpable)
    all.push_back({"it is not dumpable (it changed its user, has file capabilities, or asked for it)", ""});
  // A hatch has the capabilities that it declares, so giving hatchd the target's own would not help.
  if (const std::uint64_t more = facts.target.capabilities & ~facts.own.capabilities;
      more != 0 && !facts.other_user_namespace) {
    // With CAP_SYS_PTRACE among them it is root, or as good as that; nobody would list them.
    const std::string names =
        has(more, cap_sys_ptrace) ? "capabilities that hatchd lacks" : names_of(more) + ", which hatchd lacks";
    all.push_back({"it has " + names, ""});
  }
  if (facts.other_user_namespace) all.push_back({"it is in another user namespace", ""});
  if (look == Look::trace && (facts.yama == 1 || facts.yama == 2))
    all.push_back({"kernel.yama.ptrace_scope is " + std::to_string(facts.yama) +
                       ", which takes CAP_SYS_PTRACE even between processes of one user",
                   facts.yama == 1 ? "kernel.yama.ptrace_scope 0" : ""});
  return all;
}

constexpr const char* grant =
    "systemd: AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_CHECKPOINT_RESTORE in hatchd's unit";
constexpr const char* grant_in_pod =
    "; Kubernetes: shareProcessNamespace: true and, for hatchd's container, runAsUser: 0 with "
    "securityContext.capabilities.add: [SYS_PTRACE, DAC_READ_SEARCH, CHECKPOINT_RESTORE]";

// `id`: the target's, where being of that user would do.
std::string remedy_of(const std::string& user_id) {
  if (user_id.empty()) return std::string(grant) + grant_in_pod;
  return std::string(grant) + ", or User= the target's user (id " + user_id + ")" + grant_in_pod +
         ", or runAsUser: " + user_id;
}

}  // namespace

AccessFacts access_facts(pid_t pid, int proc_fd) {
  AccessFacts facts;
  facts.pid = pid;
  facts.own = standing_of(read_small(AT_FDCWD, "/proc/self/status"));
  facts.target = standing_of(read_small(proc_fd, "status"));
  struct stat owner {};
  facts.undumpable = ::fstatat(proc_fd, "status", &owner, 0) == 0 && owner.st_uid != facts.target.uids[1];
  // ns/user takes the very right that is missing; the map does not, and differs as seen from any one namespace.
  const std::string own_map = read_small(AT_FDCWD, "/proc/self/uid_map"), map = read_small(proc_fd, "uid_map");
  facts.other_user_namespace = !own_map.empty() && !map.empty() && own_map != map;
  const std::string yama = read_small(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope");
  if (!yama.empty() && yama[0] >= '0' && yama[0] <= '9') facts.yama = yama[0] - '0';
  return facts;
}

Refusal explain_access(const AccessFacts& facts, Look look) {
  Refusal refusal;
  refusal.detail = "the kernel refuses to look into process " + std::to_string(facts.pid) + ": ";
  if (facts.yama == 3 && look == Look::trace) {
    refusal.detail += "kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot";
    refusal.missing = {"kernel.yama.ptrace_scope below 3"};
    refusal.remedy = "set kernel.yama.ptrace_scope to 1 or 2 in /etc/sysctl.d and reboot";
    return refusal;
  }
  const bool by_mode = look == Look::private_file && (facts.undumpable || facts.target.uids[1] != facts.own.uids[1]) &&
                       !has(facts.own.capabilities, cap_dac_read_search);
  if (has(facts.own.capabilities, cap_sys_ptrace)) {
    if (by_mode) {
      refusal.detail +=
          "hatchd has CAP_SYS_PTRACE, but files of /proc that belong to the target's user need CAP_DAC_READ_SEARCH too";
      refusal.missing = {"CAP_DAC_READ_SEARCH"};
      refusal.remedy = remedy_of("");
    } else if (facts.other_user_namespace) {
      refusal.detail +=
          "hatchd has CAP_SYS_PTRACE in its own user namespace, and the target is in another that is not below it";
      refusal.missing = {"the target's user namespace"};
      refusal.remedy =
          "run hatchd in the target's user namespace or in one above it: without PrivateUsers= in its unit, in the "
          "same "
          "pod, outside a rootless container";
    } else {
      refusal.detail +=
          "hatchd has CAP_SYS_PTRACE; a security module (AppArmor, SELinux) or a seccomp filter stands in between";
      refusal.missing = {"leave of the security module"};
      refusal.remedy =
          "look for a denial in the kernel's log; run hatchd under the profile of the target, and without a seccomp "
          "profile that forbids ptrace";
    }
    return refusal;
  }
  const std::vector<Reason> all = reasons(facts, look);
  if (all.empty()) refusal.detail += "a security module, or something that cannot be seen from here, forbids it";
  for (const Reason& reason : all) refusal.detail += (&reason == &all.front() ? "" : "; ") + reason.what;
  refusal.detail += "; and hatchd has no CAP_SYS_PTRACE";
  std::string missing = by_mode ? "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH" : "CAP_SYS_PTRACE";
  // Only what would do by itself is an alternative.
  const std::string instead = all.size() == 1 ? all.front().instead : "";
  if (!instead.empty()) missing += ", or " + instead;
  refusal.missing = {std::move(missing)};
  refusal.remedy = remedy_of(instead.starts_with("the user id ") ? std::to_string(facts.target.uids[0]) : "");
  if (instead.starts_with("kernel."))
    refusal.remedy += "; or kernel.yama.ptrace_scope=0, or prctl(PR_SET_PTRACER) in the target";
  return refusal;
}

int try_access(pid_t pid) {
  char nothing = 0;
  iovec local{&nothing, 1}, remote{nullptr, 1};
  // Whether it is allowed is asked before the address is looked at (mm/process_vm_access.c), and nothing is at 0.
  if (::process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT) return 0;
  return errno;
}

}  // namespace hatch
