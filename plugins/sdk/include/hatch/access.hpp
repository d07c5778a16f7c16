// May we look into a process, and if not, what exactly is missing? The kernel answers a refusal with EPERM alone; this
// names the rule that said no, as far as it can be told from outside.
//
// The rules, in the kernel's order: ptrace(2) "Ptrace access mode checking" (ids, dumpable), then the security modules:
// cap_ptrace_access_check() in security/commoncap.c (the target's capabilities), Yama (Documentation/admin-guide/LSM/
// Yama.rst), AppArmor, SELinux. Files of /proc that are 0400 and the target's are judged by their mode before all that.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace hatch {

enum class Look {
  trace,         // ptrace, its memory (process_vm_readv)
  private_file,  // /proc/PID/environ, syscall, mem, fd/: read access, and the mode 0400 of the target's user
};

// One side's part in the decision. Ids are real, effective, saved (proc(5), status); as seen from our user namespace.
struct Standing {
  std::array<unsigned, 3> uids{}, gids{};
  std::uint64_t capabilities = 0;  // permitted
};

struct AccessFacts {
  pid_t pid = 0;
  Standing own, target;
  bool undumpable = false;            // the target's files in /proc belong to root, though it is not root's
  bool other_user_namespace = false;  // than ours
  int yama = -1;                      // kernel.yama.ptrace_scope; -1: this kernel has no Yama
};

// Reads them; `proc_fd` is the directory /proc/PID. What cannot be read stays as it is above.
AccessFacts access_facts(pid_t pid, int proc_fd);

// Each of `missing` is one thing that is needed, with what would do instead behind ", or ": "CAP_SYS_PTRACE, or the user
// id 33". Capabilities are written as in capabilities(7).
struct Refusal {
  std::string detail;
  std::vector<std::string> missing;
  std::string remedy;
};
// Why `look` was refused with EPERM or EACCES.
Refusal explain_access(const AccessFacts& facts, Look look);

// Asks the kernel whether we may trace the process (or thread) `pid`, all security modules included, without stopping it
// or reading a byte. 0: we may; else a positive errno: EPERM, ESRCH, ENOSYS where the call is not there.
int try_access(pid_t pid);

}  // namespace hatch
