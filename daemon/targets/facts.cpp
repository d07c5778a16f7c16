#include "targets/facts.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <map>

#include "base/mask.hpp"
#include "hatch/json.hpp"
#include "targets/proc.hpp"
#include "targets/runtime.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

constexpr std::size_t max_arguments = 256;
constexpr auto runtime_lasts = std::chrono::seconds(10);  // an interpreter may be loaded late (dlopen)

std::optional<std::uint64_t> open_fds(int directory) {
  // Since Linux 6.2 the size of the directory is the count, and needs no right.
  struct stat info {};
  if (::fstatat(directory, "fd", &info, 0) == 0 && info.st_size > 0) return static_cast<std::uint64_t>(info.st_size);
  std::uint64_t count = 0;
  if (!each_entry(directory, "fd", [&](const char*) { return ++count < 100'000; })) return std::nullopt;
  return count;
}

std::optional<std::uint64_t> max_fds(int directory) {
  const auto limits = read_front(directory, "limits", 4096);
  constexpr std::string_view key = "Max open files";
  const std::size_t at = limits ? limits->find(key) : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  const std::size_t digits = limits->find_first_not_of(' ', at + key.size());
  if (digits == std::string::npos) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(limits->data() + digits, limits->data() + limits->size(), value);
  return error == std::errc{} ? std::optional(value) : std::nullopt;  // "unlimited" is no number
}

std::optional<std::uint64_t> pid_namespace(int directory, const Status& status) {
  struct stat info {};
  if (::fstatat(directory, "ns/pid", &info, 0) == 0) return info.st_ino;
  // It has one number only, as seen from here: it is in the namespace that we are in.
  if (status.pid_namespaces == 1 && ::stat("/proc/self/ns/pid", &info) == 0) return info.st_ino;
  return std::nullopt;
}

void tell_executable(Held& held, const Stat& stat, json::object& out) {
  const int directory = held.process.directory();
  struct stat info {};
  std::string path = read_link(directory, "exe").value_or("");
  const bool known = !path.empty() && ::fstatat(directory, "exe", &info, 0) == 0;
  if (known) {
    // The text cannot tell "x (deleted)" from a deleted x, the link count can.
    const bool deleted = info.st_nlink == 0;
    constexpr std::string_view suffix = " (deleted)";
    if (deleted && path.ends_with(suffix)) path.resize(path.size() - suffix.size());
    out["executable"] = hatch::printable(path);
    out["executable_deleted"] = deleted;
  }
  const SteadyTime now = std::chrono::steady_clock::now();
  if (held.runtime.empty() || now - held.learnt > runtime_lasts || info.st_dev != held.exe_device ||
      info.st_ino != held.exe_inode) {
    held.runtime = runtime_of(directory, path, stat.name);
    held.exe_device = info.st_dev;
    held.exe_inode = info.st_ino;
    held.learnt = now;
  }
  out["runtime"] = held.runtime;
}

}  // namespace

std::string user_name(uid_t uid) {
  // Names seldom change and asking may mean reading files; the bound is for a host that makes up users.
  static std::map<uid_t, std::string> known;
  if (const auto found = known.find(uid); found != known.end()) return found->second;
  if (known.size() >= 256) known.clear();
  std::array<char, 4096> room;
  passwd entry{};
  passwd* result = nullptr;
  ::getpwuid_r(uid, &entry, room.data(), room.size(), &result);
  return known[uid] = result ? hatch::printable(entry.pw_name) : std::string();
}

json::object facts(Held& held, bool main, std::size_t max_command) {
  const Process& process = held.process;
  const int directory = process.directory();
  json::object out;
  out["pid"] = process.pid();
  out["started"] = process.started();
  out["started_ticks"] = process.started_ticks();
  out["main"] = main;
  const auto stat = read_stat(directory);
  if (!stat) return out;  // it has just ended
  const auto status = read_status(directory);
  if (status)
    if (const auto inode = pid_namespace(directory, *status)) out["pid_namespace"] = *inode;
  out["name"] = hatch::printable(stat->name);
  tell_executable(held, *stat, out);
  out["state"] = std::string(1, stat->state);
  if (status) {
    out["uid"] = status->uid;
    out["gid"] = status->gid;
    if (const std::string user = user_name(status->uid); !user.empty()) out["user"] = user;
  }
  out["threads"] = stat->threads;
  static const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  out["cpu_seconds"] = static_cast<double>(stat->cpu_ticks) / ticks_per_second;
  if (status) out["resident_bytes"] = status->resident_bytes;
  if (const auto count = open_fds(directory)) out["open_fds"] = *count;
  if (const auto limit = max_fds(directory)) out["max_fds"] = *limit;
  if (status) out["tracer_pid"] = status->tracer;
  if (max_command > 0)
    if (auto command = read_command(directory, max_command)) {
      if (command->size() > max_arguments) command->resize(max_arguments);
      json::array told;
      for (const std::string& argument : mask::rules()->arguments(std::move(*command)))
        told.emplace_back(hatch::printable(argument));
      out["command"] = std::move(told);
    }
  return out;
}

}  // namespace hatchd::targets
