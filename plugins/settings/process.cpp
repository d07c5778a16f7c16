// What the kernel knows of the process itself: who it is, what it may, what it is limited to, where it lives.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "settings/section.hpp"

namespace settings {
namespace {

constexpr std::size_t file_limit = std::size_t{64} << 10;

// capabilities(7), linux/capability.h: the bit is the place in the list.
constexpr const char* capability_names[] = {"chown",
                                            "dac_override",
                                            "dac_read_search",
                                            "fowner",
                                            "fsetid",
                                            "kill",
                                            "setgid",
                                            "setuid",
                                            "setpcap",
                                            "linux_immutable",
                                            "net_bind_service",
                                            "net_broadcast",
                                            "net_admin",
                                            "net_raw",
                                            "ipc_lock",
                                            "ipc_owner",
                                            "sys_module",
                                            "sys_rawio",
                                            "sys_chroot",
                                            "sys_ptrace",
                                            "sys_pacct",
                                            "sys_admin",
                                            "sys_boot",
                                            "sys_nice",
                                            "sys_resource",
                                            "sys_time",
                                            "sys_tty_config",
                                            "mknod",
                                            "lease",
                                            "audit_write",
                                            "audit_control",
                                            "setfcap",
                                            "mac_override",
                                            "mac_admin",
                                            "syslog",
                                            "wake_alarm",
                                            "block_suspend",
                                            "audit_read",
                                            "perfmon",
                                            "bpf",
                                            "checkpoint_restore"};

struct Pair {
  const char* member;
  const char* source;
};

std::uint64_t hex(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

std::string capability_list(std::uint64_t set, hatch::Array& array) {
  constexpr std::uint64_t every = (std::uint64_t{1} << std::size(capability_names)) - 1;
  std::string shown;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (!(set >> bit & 1)) continue;
    const std::string name =
        bit < std::size(capability_names) ? capability_names[bit] : "capability_" + std::to_string(bit);
    array.add(name);
    shown += (shown.empty() ? "" : " ") + name;
  }
  return shown.empty() ? "none" : set == every ? "all" : shown;
}

// "0 0 0 0" behind Uid and Gid: real, effective, saved set, file system (proc(5)).
std::string ids(std::string_view value) {
  static constexpr const char* kinds[] = {"real ", ", effective ", ", saved ", ", file system "};
  const auto all = words(value);
  if (all.size() == 4 && std::all_of(all.begin(), all.end(), [&](auto id) { return id == all[0]; }))
    return std::string(all[0]);
  std::string text;
  for (std::size_t i = 0; i < all.size() && i < 4; ++i) text.append(kinds[i]).append(all[i]);
  return text;
}

// The fields of a stat file behind the name, which may hold anything: field 3 comes first (proc(5)).
std::vector<std::string_view> stat_fields(std::string_view stat) {
  const std::size_t close = stat.rfind(')');
  return close == stat.npos ? std::vector<std::string_view>{} : words(stat.substr(close + 1));
}

const char* seccomp_word(std::string_view mode) {
  return mode == "0" ? "off" : mode == "1" ? "strict" : mode == "2" ? "filter" : "unknown";
}

}  // namespace

Section process(const Subject& subject) {
  Section section{"process"};
  const int proc = subject.process.proc_fd;
  section.add("pid", subject.process.pid);
  const auto status = stack::read_below(proc, "status", file_limit);
  if (!status) section.missing("status", errno);
  const auto value = [&](std::string_view key) {
    return std::string(status ? stack::status_value(*status, key) : std::string_view{});
  };
  const auto stat = stack::read_below(proc, "stat", file_limit);
  section.add("name", value("Name"));
  static constexpr Pair links[] = {{"executable", "exe"}, {"working_directory", "cwd"}, {"root", "root"}};
  for (const auto& [member, link] : links) {
    if (const auto path = stack::link_below(proc, link))
      section.add(member, *path);
    else
      section.missing(link, errno);
  }
  // The text of the link cannot tell: a file may be called "x (deleted)". Its number of names can.
  struct stat file {};
  if (::fstatat(proc, "exe", &file, 0) == 0) section.add("executable_deleted", file.st_nlink == 0);
  section.add("parent", value("PPid"));
  section.add("user", ids(value("Uid")));
  section.add("group", ids(value("Gid")));
  section.add("groups", value("Groups"));
  section.add("umask", value("Umask"));
  section.add("threads", value("Threads"));
  if (stat) {
    const auto fields = stat_fields(*stat);
    if (fields.size() > 19) {
      section.add("nice", fields[16]);
      // Clock ticks since boot, on the clock that stands still while the machine sleeps no more than others do.
      std::uint64_t ticks = 0;
      std::from_chars(fields[19].data(), fields[19].data() + fields[19].size(), ticks);
      timespec boot{};
      ::clock_gettime(CLOCK_BOOTTIME, &boot);
      const double age =
          static_cast<double>(boot.tv_sec) - static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
      section.add("running_for_s", std::max(0L, static_cast<long>(age)));
    }
  }
  if (const auto score = stack::read_below(proc, "oom_score_adj", 64))
    section.add("oom_score_adj", score->substr(0, score->find('\n')));
  section.add("no_new_privs", value("NoNewPrivs") == "1");
  section.add("seccomp", seccomp_word(value("Seccomp")));
  if (const std::string tracer = value("TracerPid"); tracer != "0") section.add("tracer", tracer);
  section.close();
  return section;
}

// "Max open files            1024                 1048576              files     ": the name may hold blanks, so the
// columns are found from the end of the name, which the kernel pads to 25 (fs/proc/base.c).
Section limits(const Subject& subject) {
  Section section{"limits"};
  const auto text = stack::read_below(subject.process.proc_fd, "limits", file_limit);
  if (!text) return section.missing("limits", errno);
  constexpr std::size_t name_width = 25;
  for_each_line(*text, [&](std::string_view line) {
    if (!line.starts_with("Max ") || line.size() <= name_width) return;
    std::string name{line.substr(4, line.find("  ") == line.npos ? name_width - 4 : line.find("  ") - 4)};
    std::replace(name.begin(), name.end(), ' ', '_');
    const auto columns = words(line.substr(name_width));
    if (columns.size() < 2) return;
    hatch::Object limit;
    limit.add("soft", columns[0]).add("hard", columns[1]);
    std::string shown = std::string(columns[0]) + " (hard " + std::string(columns[1]) + ")";
    if (columns.size() > 2) {
      limit.add("unit", columns[2]);
      shown.append(" ").append(columns[2]);
    }
    section.object.add(name, limit);
    section.rows.push_back({name, shown});
  });
  section.close();
  return section;
}

Section capabilities(const Subject& subject) {
  Section section{"capabilities"};
  const auto status = stack::read_below(subject.process.proc_fd, "status", file_limit);
  if (!status) return section.missing("status", errno);
  static constexpr Pair sets[] = {{"effective", "CapEff"},
                                  {"permitted", "CapPrm"},
                                  {"inheritable", "CapInh"},
                                  {"ambient", "CapAmb"},
                                  {"bounding", "CapBnd"}};
  for (const auto& [member, key] : sets) {
    hatch::Array array;
    const std::string shown = capability_list(hex(stack::status_value(*status, key)), array);
    section.object.add(member, array);
    section.rows.push_back({member, shown});
  }
  section.close();
  return section;
}

Section namespaces(const Subject& subject) {
  Section section{"namespaces"};
  for (const char* kind : {"mnt", "pid", "net", "user", "uts", "ipc", "cgroup", "time"}) {
    const std::string path = std::string("ns/") + kind;
    struct stat theirs {
    }, own{};
    if (::fstatat(subject.process.proc_fd, path.c_str(), &theirs, 0) != 0) {
      if (errno != ENOENT) section.missing(path, errno);  // ENOENT: this kernel has no such kind
      continue;
    }
    const bool same = ::stat(("/proc/self/" + path).c_str(), &own) == 0 && own.st_ino == theirs.st_ino;
    section.object.add(kind, hatch::Object{}.add("inode", theirs.st_ino).add("same_as_hatchd", same));
    section.rows.push_back({kind, std::to_string(theirs.st_ino) + (same ? " (hatchd's own)" : " (not hatchd's)")});
  }
  section.close();
  return section;
}

}  // namespace settings
