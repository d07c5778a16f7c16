#include "stack/procfs.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>
#include <cstdint>

namespace stack {

std::optional<std::string> read_below(int directory, const std::string& path, std::size_t limit) {
  const UniqueFd file{::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  return file ? read_all(file.get(), limit) : std::nullopt;
}

std::optional<std::string> read_record(int directory, const std::string& path) {
  const UniqueFd file{::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  char record[1024];
  const ssize_t n = file ? ::read(file.get(), record, sizeof record) : -1;
  return n >= 0 ? std::optional{std::string(record, static_cast<std::size_t>(n))} : std::nullopt;
}

std::optional<std::string> read_all(int fd, std::size_t limit) {
  std::string text;
  std::size_t chunk = 1024;  // most files of /proc are small, and one read is one consistent answer
  while (text.size() < limit) {
    const std::size_t had = text.size();
    text.resize(had + std::min(chunk, limit - had));
    const ssize_t n = ::read(fd, text.data() + had, text.size() - had);
    if (n < 0 && errno == EINTR) {
      text.resize(had);
      continue;
    }
    if (n < 0) return std::nullopt;
    text.resize(had + static_cast<std::size_t>(n));
    if (n == 0) break;
    chunk = 64 * 1024;
  }
  return text;
}

UniqueFd open_below_root(int proc_fd, const std::string& path, int flags) {
  const UniqueFd root{::openat(proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return {};
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd{static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how))};
}

std::optional<std::string> link_below(int directory, const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t n = ::readlinkat(directory, path.c_str(), target.data(), target.size());
  if (n < 0) return std::nullopt;
  target.resize(static_cast<std::size_t>(n));
  return target;
}

std::optional<Stat> parse_stat(std::string_view text) {
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == text.npos || close == text.npos || close < open || close + 2 >= text.size()) return std::nullopt;
  return Stat{std::string(text.substr(open + 1, close - open - 1)), text[close + 2]};
}

std::string_view status_value(std::string_view status, std::string_view key) {
  for (std::size_t at = 0; at < status.size();) {
    const std::size_t end = std::min(status.find('\n', at), status.size());
    const std::string_view line = status.substr(at, end - at);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':') {
      std::string_view value = line.substr(key.size() + 1);
      while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
      return value;
    }
    at = end + 1;
  }
  return {};
}

bool has_signal(std::string_view status, std::string_view set, int signal) {
  const std::string_view text = status_value(status, set);
  std::uint64_t bits = 0;
  std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  return bits >> (signal - 1) & 1;
}

pid_t own_number(std::string_view status) {
  const std::string_view numbers = status_value(status, "NSpid");
  pid_t number = 0;
  const std::size_t last = numbers.find_last_of("\t ") + 1;  // npos + 1 is 0
  std::from_chars(numbers.data() + last, numbers.data() + numbers.size(), number);
  return number;
}

std::optional<uid_t> file_system_user(std::string_view status) {
  const std::string_view users = status_value(status, "Uid");
  uid_t user = 0;
  const std::size_t last = users.find_last_of("\t ") + 1;  // npos + 1 is 0
  const auto [end, error] = std::from_chars(users.data() + last, users.data() + users.size(), user);
  return error == std::errc{} && last < users.size() ? std::optional{user} : std::nullopt;
}

bool has_ended(int pidfd, int proc_fd, int wait_ms) {
  if (pidfd >= 0) {
    pollfd ended{pidfd, POLLIN, 0};
    return ::poll(&ended, 1, wait_ms) > 0;
  }
  // Without a main thread the process may go on: the other threads are still listed then.
  const auto stat = read_below(proc_fd, "stat", 4096);
  return !stat;
}

}  // namespace stack
