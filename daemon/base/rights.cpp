#include "base/rights.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <memory>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/landlock.hpp"

extern char** environ;

namespace hatchd::rights {

namespace json = boost::json;

namespace {

using Caps = std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)>;
Caps own(cap_t caps) { return {caps, &cap_free}; }

Result<void> failed(const char* call) { return refuse("internal", std::string(call) + ": " + errno_text(errno)); }

// capabilities(7) names without "cap_", or -1.
cap_value_t capability_number(const std::string& name) {
  cap_value_t value = -1;
  return cap_from_name(("cap_" + name).c_str(), &value) == 0 ? value : -1;
}

std::string capability_name(cap_value_t number) {
  char* name = cap_to_name(number);
  if (name == nullptr) return std::to_string(number);
  std::string text = std::strncmp(name, "cap_", 4) == 0 ? name + 4 : name;
  cap_free(name);
  return text;
}

// ---- seccomp
// ---------------------------------------------------------------------------------------------------------- Lists of
// what is forbidden rather than of what is allowed: libraries change the calls they make between versions, and a filter
// that breaks the daemon after an update gets switched off. Each list says what a process of that kind could otherwise
// do to the machine or to its siblings. Forbidden calls answer EPERM, so that a library's fall-back works.

constexpr std::initializer_list<const char*> for_all = {
    // the kernel itself
    "bpf", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon",
    "swapoff", "iopl", "ioperm", "acct", "quotactl", "nfsservctl", "syslog", "settimeofday", "clock_settime",
    "adjtimex", "clock_adjtime", "stime", "sethostname", "setdomainname", "perf_event_open", "lookup_dcookie",
    "vhangup",
    // mounts and namespaces
    "mount", "umount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr",
    "pivot_root", "chroot", "unshare",
    // keys, and calls whose main users are exploits
    "add_key", "request_key", "keyctl", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "open_by_handle_at", "name_to_handle_at", "process_madvise", "process_mrelease", "kcmp", "personality", "mknod",
    "mknodat", "fanotify_init"};

constexpr std::initializer_list<const char*> starting_programs = {"execve", "execveat"};
constexpr std::initializer_list<const char*> touching_others = {
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_send_signal", "pidfd_getfd", "pidfd_open"};
constexpr std::initializer_list<const char*> signalling = {"kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"};
constexpr std::initializer_list<const char*> reaching_out = {"connect", "bind", "listen"};

class Rules {
 public:
  Rules() : context_(seccomp_init(SCMP_ACT_ALLOW)) {}
  Rules(const Rules&) = delete;
  ~Rules() {
    if (context_) seccomp_release(context_);
  }

  void forbid(std::initializer_list<const char*> calls) {
    for (const char* call : calls) add(call, {});
  }
  // Forbids the call where argument `index`, masked, has this value.
  void forbid_where(const char* call, unsigned index, scmp_datum_t mask, scmp_datum_t value) {
    add(call, {SCMP_CMP(index, SCMP_CMP_MASKED_EQ, mask, value)});
  }
  void forbid_unless(const char* call, unsigned index, scmp_datum_t value) {
    add(call, {SCMP_CMP(index, SCMP_CMP_NE, value)});
  }
  void answer(const char* call, int error) { add(call, {}, SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error))); }

  Result<void> load() {
    if (!context_) return refuse("internal", "seccomp_init failed");
    // Threads that exist already get the same filter.
    int error = seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1);
    if (error_ == 0) error_ = error;
    if (error_ == 0) error_ = seccomp_load(context_);
    if (error_ != 0) return refuse("internal", "seccomp: " + errno_text(-error_));
    return {};
  }

 private:
  void add(const char* name, std::initializer_list<scmp_arg_cmp> where, std::uint32_t action = SCMP_ACT_ERRNO(EPERM)) {
    const int call = seccomp_syscall_resolve_name(name);
    if (call < 0) return;  // not a call of this architecture
    const int error =
        seccomp_rule_add_array(context_, action, call, static_cast<unsigned>(where.size()), std::data(where));
    if (error != 0 && error_ == 0) error_ = error;
  }
  scmp_filter_ctx context_;
  int error_ = 0;
};

// `networks`: a process that may enter the network namespace of a target, which takes CAP_SYS_ADMIN and so comes with
// much else. It can make no namespace of its own, and enter none of another kind.
Result<void> load_filter(Filter filter, bool networks = false) {
  Rules rules;
  rules.forbid(for_all);
  if (networks)
    rules.forbid_unless("setns", 1, CLONE_NEWNET);
  else
    rules.forbid({"setns"});
  // A user namespace takes no right, and gives all of them within.
  for (const scmp_datum_t flag :
       {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP})
    rules.forbid_where("clone", 0, flag, flag);
  // The flags of clone3 are behind a pointer, out of a filter's sight; glibc falls back to clone on ENOSYS.
  rules.answer("clone3", ENOSYS);
  const auto no_new_processes = [&] {
    rules.forbid({"fork", "vfork"});
    rules.forbid_where("clone", 0, CLONE_THREAD, 0);
  };
  const auto no_signals = [&] {
    rules.forbid(signalling);
    // abort() and raise() signal the own thread group.
    rules.forbid_unless("tgkill", 0, static_cast<scmp_datum_t>(::getpid()));
    // The kernel signals the owner of a descriptor (fcntl(2), F_SETOWN), and a process over its limits (prlimit(2)).
    for (const int command : {F_SETOWN, F_SETSIG, F_SETOWN_EX})
      rules.forbid_where("fcntl", 1, ~0ull, static_cast<scmp_datum_t>(command));
    for (const unsigned long request : {FIOSETOWN, SIOCSPGRP}) rules.forbid_where("ioctl", 1, ~0ull, request);
    rules.forbid_unless("prlimit64", 0, 0);
  };
  switch (filter) {
    case Filter::supervisor: break;
    case Filter::front:
      rules.forbid(starting_programs);
      rules.forbid(touching_others);
      rules.forbid(reaching_out);
      rules.forbid({"socket"});  // listeners come from the supervisor, pairs by socketpair
      no_signals();
      no_new_processes();
      break;
    case Filter::targets:
      rules.forbid(starting_programs);
      rules.forbid({"ptrace", "process_vm_writev", "pidfd_getfd"});
      rules.forbid(reaching_out);
      rules.forbid_unless("socket", 0, AF_NETLINK);  // sock_diag finds who listens on a port
      rules.forbid({"pidfd_send_signal"});
      no_signals();
      no_new_processes();
      break;
    case Filter::launcher: break;
    case Filter::plugin: rules.forbid(starting_programs); break;
    case Filter::digest:
      rules.forbid(starting_programs);
      rules.forbid(touching_others);
      rules.forbid(reaching_out);
      rules.forbid({"socket"});
      no_signals();
      no_new_processes();
      break;
  }
  return rules.load();
}

// Permitted and effective become `kept`; inheritable too where children are to get them.
Result<void> set_capabilities(const std::vector<cap_value_t>& kept, bool inheritable) {
  const Caps caps = own(cap_init());  // nothing set
  if (!caps) return failed("cap_init");
  if (!kept.empty()) {
    const int count = static_cast<int>(kept.size());
    if (cap_set_flag(caps.get(), CAP_PERMITTED, count, kept.data(), CAP_SET) != 0 ||
        cap_set_flag(caps.get(), CAP_EFFECTIVE, count, kept.data(), CAP_SET) != 0 ||
        (inheritable && cap_set_flag(caps.get(), CAP_INHERITABLE, count, kept.data(), CAP_SET) != 0))
      return failed("cap_set_flag");
  }
  if (cap_set_proc(caps.get()) != 0) return failed("capset");
  return {};
}

bool has(cap_value_t capability, cap_flag_t flag) {
  const Caps caps = own(cap_get_proc());
  cap_flag_value_t value = CAP_CLEAR;
  return caps && cap_get_flag(caps.get(), capability, flag, &value) == 0 && value == CAP_SET;
}

// Granted ∩ what we have: a missing one is a refusal of the hatch that needs it, not a failure to start.
Result<std::vector<cap_value_t>> held_of(const std::vector<std::string>& names) {
  std::vector<cap_value_t> held;
  for (const std::string& name : names) {
    const cap_value_t number = capability_number(name);
    if (number < 0) return refuse("internal", "no such capability: " + name);
    if (has(number, CAP_PERMITTED)) held.push_back(number);
  }
  return held;
}

// Nothing started from here can get more than `kept`. Without CAP_SETPCAP the bounding set stays; no-new-privileges
// makes it moot.
Result<void> bound(const std::vector<cap_value_t>& kept) {
  if (!has(CAP_SETPCAP, CAP_EFFECTIVE)) return {};
  for (cap_value_t number = 0; cap_get_bound(number) >= 0; ++number)
    if (std::find(kept.begin(), kept.end(), number) == kept.end() && cap_drop_bound(number) != 0)
      return failed("PR_CAPBSET_DROP");
  return {};
}

bool enters_networks(const std::vector<cap_value_t>& kept) {
  return std::find(kept.begin(), kept.end(), CAP_SYS_ADMIN) != kept.end();
}

char* title_begin = nullptr;
std::size_t title_room = 0;

}  // namespace

Rights rights_of(const json::object& setup) {
  Rights rights;
  const json::object* given = object_of(setup, "rights");
  if (!given) return rights;
  if (given->contains("uid")) rights.uid = static_cast<uid_t>(number_of(*given, "uid"));
  if (given->contains("gid")) rights.gid = static_cast<gid_t>(number_of(*given, "gid"));
  rights.capabilities = texts_of(*given, "capabilities");
  return rights;
}

json::object to_json(const Rights& rights) {
  json::object object{{"capabilities", json::value_from(rights.capabilities)}};
  if (rights.uid) object["uid"] = *rights.uid;
  if (rights.gid) object["gid"] = *rights.gid;
  return object;
}

Result<void> lower(const Rights& rights, Filter filter, pid_t parent, bool dumpable_until_loaded) {
  const auto kept = held_of(rights.capabilities);
  if (!kept) return tl::unexpected(kept.error());
  if (auto done = bound(*kept); !done) return done;

  if (rights.gid || rights.uid) {
    // Capabilities are kept over the change of ids and cut right below.
    if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return failed("PR_SET_KEEPCAPS");
    if (rights.gid) {
      if (::setgroups(0, nullptr) != 0) return failed("setgroups");
      if (::setresgid(*rights.gid, *rights.gid, *rights.gid) != 0) return failed("setresgid");
    }
    if (rights.uid && ::setresuid(*rights.uid, *rights.uid, *rights.uid) != 0) return failed("setresuid");
    if (::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return failed("PR_SET_KEEPCAPS");
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return failed("PR_CAP_AMBIENT_CLEAR_ALL");
  if (auto done = set_capabilities(*kept, false); !done) return done;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("PR_SET_NO_NEW_PRIVS");
  if (parent != 0)
    if (auto done = die_with(parent); !done) return done;
  if (dumpable_until_loaded) {
    // A change of ids made us undumpable; opening the plugin object through /proc/self/fd needs the opposite for a
    // moment.
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return failed("PR_SET_DUMPABLE");
  } else if (auto done = make_undumpable(); !done) {
    return done;
  }
  return load_filter(filter, enters_networks(*kept));
}

Result<void> lower_supervisor(const std::vector<std::string>& capabilities) {
  const auto kept = held_of(capabilities);
  if (!kept) return tl::unexpected(kept.error());
  if (auto done = bound(*kept); !done) return done;
  // Root gets its permitted set again at every exec (no-new-privileges cuts it to what we have); others need ambient
  // capabilities, which must be inheritable first.
  const bool ambient = ::geteuid() != 0;
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return failed("PR_CAP_AMBIENT_CLEAR_ALL");
  if (auto done = set_capabilities(*kept, ambient); !done) return done;
  if (ambient)
    for (const cap_value_t number : *kept)
      if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0) return failed("PR_CAP_AMBIENT_RAISE");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("PR_SET_NO_NEW_PRIVS");
  if (auto done = make_undumpable(); !done) return done;
  // What its filter forbids, its children cannot do either.
  return load_filter(Filter::supervisor, enters_networks(*kept));
}

Result<void> make_undumpable() {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("PR_SET_DUMPABLE");
  return {};
}

int drop() {
  if (!set_capabilities({}, false)) return -EPERM;
  // Of the target's user it could open /proc/PID/mem without a capability, and no filter sees which file a path leads
  // to. Where the kernel has no Landlock, the rest holds.
  landlock::look_into_nobody();
  if (!load_filter(Filter::digest)) return -EPERM;
  return 0;
}

Result<void> give_up(const std::string& capability) {
  const cap_value_t number = capability_number(capability);
  const Caps caps = own(cap_get_proc());
  if (number < 0 || !caps) return failed("cap_get_proc");
  if (!has(number, CAP_PERMITTED)) return {};
  for (const cap_flag_t set : {CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE})
    if (cap_set_flag(caps.get(), set, 1, &number, CAP_CLEAR) != 0) return failed("cap_set_flag");
  if (cap_set_proc(caps.get()) != 0) return failed("capset");
  return {};
}

Result<void> die_with(pid_t parent) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("PR_SET_PDEATHSIG");
  // It may have died before the line above. (A parent outside our pid namespace shows as 0.)
  if (const pid_t now = ::getppid(); now != parent && now != 0) return refuse("internal", "the parent process is gone");
  return {};
}

std::vector<std::string> capabilities() {
  std::vector<std::string> names;
  const Caps caps = own(cap_get_proc());
  for (cap_value_t number = 0; number < cap_max_bits(); ++number) {
    cap_flag_value_t value = CAP_CLEAR;
    if (!caps || cap_get_flag(caps.get(), number, CAP_EFFECTIVE, &value) != 0 || value != CAP_SET) continue;
    names.push_back(capability_name(number));
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_capability(const std::string& name) { return capability_number(name) >= 0; }

std::vector<std::string> known_capabilities() {
  std::vector<std::string> names;
  for (cap_value_t number = 0; CAP_IS_SUPPORTED(number); ++number) names.push_back(capability_name(number));
  return names;
}

void start_title(char** argv) {
  // The kernel shows the bytes between argv[0] and the end of the environment (proc(5), cmdline), so the title may grow
  // into the environment once that was copied away.
  title_begin = argv[0];
  char* end = argv[0];
  for (char** arg = argv; *arg; ++arg)
    if (*arg == end) end += std::strlen(*arg) + 1;
  std::size_t count = 0;
  for (char** variable = environ; *variable; ++variable, ++count)
    if (*variable == end) end += std::strlen(*variable) + 1;
  // Never freed, nor at exit: getenv() hands out pointers into it for the life of the process.
  static std::vector<char*>& copies = *new std::vector<char*>;
  for (std::size_t i = 0; i < count; ++i) copies.push_back(::strdup(environ[i]));
  copies.push_back(nullptr);
  environ = copies.data();
  title_room = static_cast<std::size_t>(end - title_begin);
}

void set_title(const std::string& title) {
  ::prctl(PR_SET_NAME, title.substr(0, 15).c_str(), 0, 0, 0);
  if (title_room < 2) return;
  std::memset(title_begin, 0, title_room);
  std::memcpy(title_begin, title.data(), std::min(title.size(), title_room - 1));
}

}  // namespace hatchd::rights
