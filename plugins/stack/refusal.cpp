#include "stack/refusal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>

#include "hatch/json.hpp"

namespace stack {
namespace {

constexpr unsigned cap_sys_ptrace = 19, cap_dac_read_search = 2;  // capabilities(7), linux/capability.h

bool has_capability(std::string_view status, unsigned number) {
  const std::string_view text = status_value(status, "CapEff");
  std::uint64_t set = 0;
  std::from_chars(text.data(), text.data() + text.size(), set, 16);
  return set >> number & 1;
}

std::string one_line(std::string_view text) {
  std::string out{text};
  for (char& c : out)
    if (c == '\t') c = '/';
  return out;
}

// 0 to 3; -1: this kernel has no Yama.
int yama_scope() {
  const auto text = read_below(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 16);
  return text && !text->empty() ? (*text)[0] - '0' : -1;
}

constexpr const char* grant =
    "systemd: AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_CHECKPOINT_RESTORE in hatchd's unit, or "
    "User= the target's user; Kubernetes: shareProcessNamespace: true and, for hatchd's container, runAsUser: the "
    "app's uid, or runAsUser: 0 with securityContext.capabilities.add: [SYS_PTRACE, DAC_READ_SEARCH]";

}  // namespace

std::string tracer_of(const Process& process, pid_t tid) {
  const auto status = read_below(process.proc_fd, "task/" + std::to_string(tid) + "/status", 16 * 1024);
  const std::string tracer{status ? status_value(*status, "TracerPid") : std::string_view{}};
  if (tracer.empty() || tracer == "0") return {};
  const auto name = read_below(AT_FDCWD, "/proc/" + tracer + "/comm", 64);
  std::string shown = hatch::printable(name ? std::string_view{*name}.substr(0, name->find('\n')) : "?");
  return tracer + " (" + shown + ")";
}

Trouble explain_refusal(const Process& process, pid_t tid, Refused refused) {
  Trouble trouble{Trouble::Kind::rights, {}, {}, {}};
  const std::string number = std::to_string(process.pid);
  if (const std::string tracer = tracer_of(process, tid); refused == Refused::tracing && !tracer.empty()) {
    trouble.detail =
        "process " + number + " is being traced by process " + tracer + "; a thread has one tracer at a time";
    trouble.missing = {"tracing of process " + number + ", which process " + tracer + " holds"};
    trouble.remedy = "end that debugger or tracer, or let it detach; pause=none needs no tracing";
    return trouble;
  }
  const auto own = read_below(AT_FDCWD, "/proc/self/status", 16 * 1024).value_or("");
  const auto theirs = read_below(process.proc_fd, "status", 16 * 1024).value_or("");
  const std::string own_uids = one_line(status_value(own, "Uid")), their_uids = one_line(status_value(theirs, "Uid"));
  const int yama = yama_scope();
  struct stat owner {};
  const bool owner_known = ::fstatat(process.proc_fd, "status", &owner, 0) == 0;
  const bool undumpable = owner_known && owner.st_uid == 0 && !their_uids.starts_with("0/");

  trouble.detail = "the kernel refuses to look into process " + number + ": ";
  if (yama == 3) {
    trouble.detail += "kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot";
    trouble.missing = {"kernel.yama.ptrace_scope below 3"};
    trouble.remedy = "set kernel.yama.ptrace_scope to 1 or 2 in /etc/sysctl.d and reboot";
  } else if (refused == Refused::private_file && has_capability(own, cap_sys_ptrace) &&
             !has_capability(own, cap_dac_read_search)) {
    trouble.detail +=
        "hatchd has CAP_SYS_PTRACE, but files of /proc that belong to the target's user need CAP_DAC_READ_SEARCH too";
    trouble.missing = {"CAP_DAC_READ_SEARCH"};
    trouble.remedy = grant;
  } else if (has_capability(own, cap_sys_ptrace)) {
    trouble.detail +=
        "hatchd has CAP_SYS_PTRACE; a security module (AppArmor, SELinux), a seccomp filter or a user namespace stands "
        "in between";
    trouble.missing = {"leave of the security module, or CAP_SYS_PTRACE in the target's user namespace"};
    trouble.remedy =
        "look for a denial in the kernel's log; run hatchd in the user namespace and under the profile of the target";
  } else if (own_uids != their_uids) {
    trouble.detail += "its user ids (real/effective/saved/fs) are " + their_uids + ", hatchd's are " + own_uids +
                      ", and hatchd has no CAP_SYS_PTRACE";
    trouble.missing = {"CAP_SYS_PTRACE"};
    trouble.remedy = grant;
  } else if (undumpable) {
    trouble.detail +=
        "it is not dumpable (it changed its user, has file capabilities, or asked for it), and hatchd has no "
        "CAP_SYS_PTRACE";
    trouble.missing = {"CAP_SYS_PTRACE"};
    trouble.remedy = grant;
  } else if (yama == 1 || yama == 2) {
    trouble.detail += "kernel.yama.ptrace_scope is " + std::to_string(yama) +
                      ", which takes CAP_SYS_PTRACE even between processes of one user";
    trouble.missing = {"CAP_SYS_PTRACE"};
    trouble.remedy =
        yama == 1 ? std::string(grant) + "; or kernel.yama.ptrace_scope=0, or prctl(PR_SET_PTRACER) in the target"
                  : grant;
  } else {
    trouble.detail += "it has rights or a user namespace that hatchd lacks, or a security module forbids it";
    trouble.missing = {"CAP_SYS_PTRACE"};
    trouble.remedy = grant;
  }
  return trouble;
}

}  // namespace stack
