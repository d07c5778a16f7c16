#include "targets/proc.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <memory>

#include "base/fd.hpp"

namespace hatchd::targets {

namespace {

// Takes the next field of a blank-separated line.
std::string_view next_field(std::string_view& line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return line = {};
  const std::size_t end = std::min(line.find_first_of(" \t\n", begin), line.size());
  const std::string_view field = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return field;
}

template <class N>
bool take(std::string_view& line, N& value) {
  const std::string_view field = next_field(line);
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  return error == std::errc{} && end == field.data() + field.size();
}

}  // namespace

std::optional<std::string> read_front(int directory, const char* path, std::size_t max) {
  // O_NONBLOCK: nothing of /proc blocks, and whatever else a hostile root holds must not either.
  const UniqueFd file{::openat(directory, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!file) return std::nullopt;
  std::string content;
  while (content.size() < max) {
    const std::size_t had = content.size();
    content.resize(std::min(max, had + 4096));
    const ssize_t n = ::read(file.get(), content.data() + had, content.size() - had);
    content.resize(had + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
  }
  return content;
}

std::optional<Stat> parse_stat(std::string_view text) {
  // The name stands unescaped in parentheses and may hold any byte, parentheses and newlines too; nothing behind it
  // does.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
  Stat stat;
  std::string_view front = text.substr(0, open);
  if (!take(front, stat.pid)) return std::nullopt;
  stat.name = text.substr(open + 1, close - open - 1);
  std::string_view rest = text.substr(close + 1);
  const std::string_view state = next_field(rest);
  if (state.size() != 1) return std::nullopt;
  stat.state = state[0];
  if (!take(rest, stat.parent)) return std::nullopt;
  // Fields 5 to 22; all are numbers, some negative.
  std::array<std::int64_t, 18> fields{};
  for (std::int64_t& field : fields)
    if (!take(rest, field)) return std::nullopt;
  constexpr std::int64_t pf_kthread = 0x00200000;  // linux/sched.h
  const auto at = [&](std::size_t number) { return fields[number - 5]; };
  stat.kernel_thread = (at(9) & pf_kthread) != 0;
  stat.cpu_ticks = static_cast<std::uint64_t>(at(14) + at(15));
  stat.threads = static_cast<std::uint64_t>(at(20));
  stat.started_ticks = static_cast<std::uint64_t>(at(22));
  return stat;
}

std::optional<Stat> read_stat(int directory) {
  const auto text = read_front(directory, "stat", 4096);
  return text ? parse_stat(*text) : std::nullopt;
}

std::optional<Status> parse_status(std::string_view text) {
  Status status;
  bool uids = false, gids = false;
  while (!text.empty()) {
    // Newlines in the name are escaped here, so lines can be trusted.
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    line.remove_prefix(colon + 1);
    if (key == "Uid") {
      uids = take(line, status.real_uid) && take(line, status.uid) && take(line, status.saved_uid);
    } else if (key == "Gid") {
      gid_t real;
      gids = take(line, real) && take(line, status.gid);
    } else if (key == "TracerPid") {
      take(line, status.tracer);
    } else if (key == "VmRSS") {
      std::uint64_t kib = 0;
      if (take(line, kib)) status.resident_bytes = kib * 1024;
    } else if (key == "NSpid") {
      while (!next_field(line).empty()) ++status.pid_namespaces;
    }
  }
  return uids && gids ? std::optional(status) : std::nullopt;
}

std::optional<Status> read_status(int directory) {
  const auto text = read_front(directory, "status", 16 * 1024);
  return text ? parse_status(*text) : std::nullopt;
}

bool belongs_to(const Status& status, uid_t uid) {
  return status.real_uid == uid && status.uid == uid && status.saved_uid == uid;
}

std::optional<std::vector<std::string>> read_command(int directory, std::size_t max) {
  const auto text = read_front(directory, "cmdline", max);
  if (!text) return std::nullopt;
  std::vector<std::string> arguments;
  for (std::size_t begin = 0; begin < text->size();) {
    const std::size_t end = std::min(text->find('\0', begin), text->size());
    arguments.push_back(text->substr(begin, end - begin));
    begin = end + 1;
  }
  // A process that wrote a title over its arguments leaves a tail of NULs.
  while (!arguments.empty() && arguments.back().empty()) arguments.pop_back();
  return arguments;
}

std::optional<std::string> read_link(int directory, const char* path) {
  std::string text(4096, '\0');
  const ssize_t n = ::readlinkat(directory, path, text.data(), text.size());
  if (n < 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(n));
  return text;
}

bool each_entry(int directory, const char* path, const std::function<bool(const char*)>& see) {
  UniqueFd fd{::openat(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries{::fdopendir(fd.get()), &::closedir};
  if (!entries) return false;
  fd.release();
  while (const dirent* entry = ::readdir(entries.get())) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    if (!see(entry->d_name)) break;
  }
  return true;
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

WallTime wall_time(std::uint64_t ticks) {
  using namespace std::chrono;
  static const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  timespec boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &boot);  // start times count the time in suspend too (proc(5))
  const auto up = seconds(boot.tv_sec) + nanoseconds(boot.tv_nsec);
  const auto since = nanoseconds(ticks * (1'000'000'000 / per_second));
  return system_clock::now() - duration_cast<system_clock::duration>(up - since);
}

}  // namespace hatchd::targets
