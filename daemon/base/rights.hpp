// How a process gives up what it does not need. Every child of hatchd calls lower() once, right after it has read its
// `setup` and before it reads anything else; a run calls drop() between gathering and digesting.
//
// The order in lower(), each line for a reason: bounding set (needs CAP_SETPCAP), ids (needs CAP_SETUID, and an ids
// change clears the parent-death signal), permitted and effective to what was granted, no ambient, no inheritable,
// no-new-privileges, parent-death signal, undumpable, seccomp last, since the filter forbids some of the above.
// Sources: capabilities(7), prctl(2), seccomp(2).
#pragma once

#include <sys/types.h>

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/problem.hpp"

namespace hatchd::rights {

struct Rights {
  std::optional<uid_t> uid;  // nullopt: stay who you are
  std::optional<gid_t> gid;
  std::vector<std::string> capabilities;  // "sys_ptrace", …; what the process does not have is left out
};

// The RIGHTS of link/protocol.hpp: the member "rights" of a child's setup, and how it is written.
Rights rights_of(const boost::json::object& setup);
boost::json::object to_json(const Rights& rights);

// Which calls the seccomp filter forbids. All forbid what no process of hatchd needs (mount, bpf, kexec, keyctl,
// userfaultfd, io_uring, module loading, …); see rights.cpp for the lists. Namespaces stay as they are, too; a process
// that was granted CAP_SYS_ADMIN may enter one kind of them, that of the network (setns(2) with CLONE_NEWNET).
enum class Filter {
  supervisor,  // base list only
  front,       // also kill of others, ptrace, process_vm_*, pidfd_*, execve, new sockets but pairs, new processes
  targets,     // also ptrace, process_vm_writev, kill, sockets but AF_UNIX and AF_NETLINK, execve
  launcher,    // as plugin, but it may start programs: they keep the filter, and gain no rights (no_new_privs)
  plugin,      // also execve of anything; sockets and ptrace stay (the capabilities decide)
  digest,  // a run after drop_rights(): also ptrace, process_vm_*, kill of others, sockets, clone of processes, execve
};

// Refuses with the call that failed. `parent`: the pid that must still be the parent, 0 for "do not care".
// With `dumpable_until_loaded` the caller makes itself undumpable (make_undumpable) after opening its plugin object.
Result<void> lower(const Rights& rights, Filter filter, pid_t parent, bool dumpable_until_loaded = false);
Result<void> make_undumpable();

// The supervisor's own part: keeps `capabilities` and can hand them to the children it starts (as root by exec,
// otherwise as ambient capabilities); no-new-privileges, undumpable, Filter::supervisor.
Result<void> lower_supervisor(const std::vector<std::string>& capabilities);

// Second phase of a run: no capabilities, Filter::digest. 0, or a negative errno. Async-signal-safe it is not.
int drop();

// Leaves one capability behind, for good: that of entering a network namespace, once the run is where it wants to be.
Result<void> give_up(const std::string& capability);

// Sends SIGKILL to the caller when `parent` dies; refused when it is gone already. For forked runs.
Result<void> die_with(pid_t parent);

// The effective capabilities of the calling process, names as above, sorted.
std::vector<std::string> capabilities();
// Whether `name` names a capability that this kernel knows.
bool is_capability(const std::string& name);
// All that this kernel knows.
std::vector<std::string> known_capabilities();

// The name that ps shows, and the first 15 bytes of it as the thread name. Call start_title(argv) before the first.
void start_title(char** argv);
void set_title(const std::string& title);

}  // namespace hatchd::rights
