#include "app/reports.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>

namespace app {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t max_files = 16, max_descriptors = 4096;
constexpr std::size_t max_kept = 512 * 1024;
constexpr std::size_t max_entry = 16 * 1024;
constexpr std::size_t max_lines_back = 200;
constexpr auto pace = 20ms;
constexpr auto quiet = 200ms;      // nothing more of the entry came for so long: it is whole
constexpr auto elsewhere = 300ms;  // once it arrived at one place, so long for the others

bool is_written(int proc_fd, const std::string& number) {
  const stack::UniqueFd info{::openat(proc_fd, ("fdinfo/" + number).c_str(), O_RDONLY | O_CLOEXEC)};
  char buffer[512];
  const ssize_t n = info ? ::read(info.get(), buffer, sizeof buffer - 1) : -1;
  if (n <= 0) return false;
  buffer[n] = 0;
  const std::string_view text(buffer, static_cast<std::size_t>(n));
  const std::size_t at = text.find("flags:\t");
  if (at == std::string_view::npos) return false;
  const unsigned long flags = std::strtoul(buffer + at + 7, nullptr, 8);  // octal: proc(5)
  return (flags & O_ACCMODE) != O_RDONLY;
}

bool looks_like_a_log(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return path.starts_with("/var/log/") || name.find("log") != std::string::npos || name.ends_with(".err") ||
         name.ends_with(".out");
}

std::string_view line_at(std::string_view text, std::size_t begin) {
  return text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
}

// Where the line before the one that begins at `begin` begins; npos when that is the first.
std::size_t previous_line(std::string_view text, std::size_t begin) {
  if (begin == 0) return std::string_view::npos;
  const std::size_t before = begin == 1 ? std::string_view::npos : text.rfind('\n', begin - 2);
  return before == std::string_view::npos ? 0 : before + 1;
}

}  // namespace

std::string entry_around(std::string_view text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  std::size_t begin = text.rfind('\n', at);
  begin = begin == std::string_view::npos ? 0 : begin + 1;
  std::size_t end = std::min(text.find('\n', at), text.size());

  // Back over the frames of a traceback, which are indented, to its first line and the one that introduces it.
  std::size_t first = begin;
  std::size_t line = begin;
  for (std::size_t back = 0; back < max_lines_back && begin - first < max_entry; ++back) {
    line = previous_line(text, line);
    if (line == std::string_view::npos) break;
    const std::string_view content = line_at(text, line);
    if (content.starts_with("Traceback ")) {
      first = line;
      if (const std::size_t intro = previous_line(text, line); intro != std::string_view::npos) first = intro;
      break;
    }
    if (!content.empty() && content.front() != ' ' && content.front() != '\t') break;
  }
  // On over what belongs to it: other languages print the stack below the message.
  while (end < text.size()) {
    const std::string_view next = line_at(text, end + 1);
    const bool below = !next.empty() && (next.front() == ' ' || next.front() == '\t');
    if (!below || end + next.size() - begin > max_entry) break;
    end = std::min(end + 1 + next.size(), text.size());
  }
  std::string_view entry = text.substr(first, end - first);
  if (entry.size() > max_entry) entry = text.substr(begin, std::min(end - begin, max_entry));
  return std::string(entry);
}

void Logs::add(std::string where, stack::UniqueFd fd) {
  struct stat info {};
  if (files_.size() >= max_files || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return;
  for (const File& file : files_)
    if (file.device == info.st_dev && file.inode == info.st_ino) return;
  files_.push_back({std::move(where), std::move(fd), info.st_dev, info.st_ino, info.st_size, {}, -1});
}

Logs Logs::open(const hatch::Run& run) {
  Logs logs;
  const std::vector<hatch_process> processes = run.processes();
  for (std::uint32_t i = 0; i < processes.size(); ++i)
    if (processes[i].main)
      if (stack::UniqueFd log{run.target_file(i, HATCH_FILE_LOG)}; log) {
        const std::string self = "/proc/self/fd/" + std::to_string(log.get());
        logs.add(stack::link_below(AT_FDCWD, self).value_or(""), std::move(log));
      }
  std::set<std::string> blind;
  for (const hatch_process& process : processes) {
    run.check();
    const int fds = ::openat(process.proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fds < 0) continue;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing{::fdopendir(fds), &::closedir};
    if (!listing) {
      ::close(fds);
      continue;
    }
    std::size_t seen = 0;
    while (const dirent* entry = ::readdir(listing.get())) {
      const std::string number = entry->d_name;
      if (number.front() == '.' || ++seen > max_descriptors) continue;
      const std::string path = stack::link_below(::dirfd(listing.get()), number).value_or("");
      const bool standard = number == "1" || number == "2";
      struct stat info {};
      if (::fstatat(::dirfd(listing.get()), number.c_str(), &info, 0) != 0) continue;
      if (!S_ISREG(info.st_mode)) {
        if (number == "2") {
          const char* what = S_ISSOCK(info.st_mode)   ? "stderr is a socket (the journal, most likely)"
                             : S_ISFIFO(info.st_mode) ? "stderr is a pipe"
                             : path == "/dev/null"    ? "stderr is /dev/null"
                                                      : "stderr is a terminal or a device";
          blind.insert(what);
        }
        continue;
      }
      if (!(standard || looks_like_a_log(path)) || !is_written(process.proc_fd, number)) continue;
      stack::UniqueFd file{
          ::openat(process.proc_fd, ("fd/" + number).c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
      if (file)
        logs.add(path, std::move(file));
      else
        blind.insert(path + " may not be read");
    }
  }
  logs.blind_.assign(blind.begin(), blind.end());
  return logs;
}

bool Logs::grow(File& file) {
  struct stat info {};
  if (::fstat(file.fd.get(), &info) != 0) return false;
  if (info.st_size < file.at) file.at = 0;  // cut by a rotation that copies
  bool grew = false;
  char buffer[65536];
  for (int pieces = 0; pieces < 64; ++pieces) {
    const ssize_t n = ::pread(file.fd.get(), buffer, sizeof buffer, file.at);
    if (n <= 0) break;
    file.at += n;
    file.text.append(buffer, static_cast<std::size_t>(n));
    grew = true;
    if (file.text.size() > max_kept) file.text.erase(0, file.text.size() - max_kept);
  }
  return grew;
}

std::vector<Reported> Logs::look(const hatch::Run& run, std::string_view mark, Clock::time_point begun,
                                 std::chrono::milliseconds limit) {
  Clock::time_point until = Clock::now() + limit, grew = Clock::now();
  bool found = false;
  for (;;) {
    for (File& file : files_) {
      if (!grow(file)) continue;
      grew = Clock::now();
      if (file.found_ms >= 0 || file.text.find(mark) == std::string::npos) continue;
      file.found_ms = std::chrono::duration<double, std::milli>(grew - begun).count();
      if (!std::exchange(found, true)) until = std::min(until, grew + elsewhere);
    }
    const Clock::time_point now = Clock::now();
    // An entry that is being written: the end of it is waited for, but not for ever.
    if (now >= until && (!found || now >= grew + quiet || now >= until + 1s)) break;
    pollfd cancel{run.cancel_fd(), POLLIN, 0};
    if (::poll(&cancel, 1, static_cast<int>(pace.count())) > 0) throw hatch::Cancelled{};
  }
  std::vector<Reported> reported;
  for (const File& file : files_)
    if (file.found_ms >= 0) reported.push_back({file.where, file.found_ms, entry_around(file.text, mark)});
  return reported;
}

std::vector<std::string> Logs::places() const {
  std::vector<std::string> names;
  for (const File& file : files_) names.push_back(file.where);
  return names;
}

}  // namespace app
