#include "stack/printed.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

namespace stack {
namespace {

constexpr std::size_t max_printed_threads = 20'000;

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace

std::string Printed::follow(const Process& process, int number) {
  const std::string link = link_below(process.proc_fd, "fd/" + std::to_string(number)).value_or("");
  if (link.empty()) return "closed, or it may not be looked at";
  struct stat info {};
  if (::fstatat(process.proc_fd, ("fd/" + std::to_string(number)).c_str(), &info, 0) != 0) return "not to be looked at";
  if (S_ISFIFO(info.st_mode)) return "a pipe (" + link + "), which only its reader can read";
  if (S_ISSOCK(info.st_mode))
    return "a socket (" + link + "), which only its other end can read: under systemd, the journal";
  if (S_ISCHR(info.st_mode)) return link == "/dev/null" ? "/dev/null" : "a terminal (" + link + ")";
  if (!S_ISREG(info.st_mode)) return link;
  if (has(info)) return {};
  // The very file that the target has open, wherever its path leads to by now.
  UniqueFd fd{::openat(process.proc_fd, ("fd/" + std::to_string(number)).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return link + ", which hatchd may not read";
  files_.push_back({std::move(fd), static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0)), link});
  return {};
}

void Printed::follow(UniqueFd file) {
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || has(info)) return;
  const std::string path = link_below(AT_FDCWD, "/proc/self/fd/" + std::to_string(file.get())).value_or("");
  files_.push_back({std::move(file), static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0)), path});
}

bool Printed::has(const struct stat& info) const {
  return std::any_of(files_.begin(), files_.end(), [&](const File& file) {
    struct stat known {};
    return ::fstat(file.fd.get(), &known) == 0 && known.st_ino == info.st_ino && known.st_dev == info.st_dev;
  });
}

// A file that was cut in the meantime begins anew.
std::uint64_t Printed::grown(const File& file) {
  struct stat info {};
  if (::fstat(file.fd.get(), &info) != 0) return 0;
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  return size > file.begin ? size - file.begin : 0;
}

const Printed::File* Printed::fullest() const {
  const auto most =
      std::max_element(files_.begin(), files_.end(), [](const File& a, const File& b) { return grown(a) < grown(b); });
  return most == files_.end() ? nullptr : &*most;
}

std::uint64_t Printed::size() const {
  std::uint64_t all = 0;
  for (const File& file : files_) all += grown(file);
  return all;
}

std::string Printed::source() const {
  const File* const file = fullest();
  return file ? file->path : std::string{};
}

std::string Printed::text(std::size_t limit) const {
  const File* const file = fullest();
  std::string text(file ? std::min<std::uint64_t>(grown(*file), limit) : 0, '\0');
  std::size_t got = 0;
  while (got < text.size()) {
    const ssize_t n =
        ::pread(file->fd.get(), text.data() + got, text.size() - got, static_cast<off_t>(file->begin + got));
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  text.resize(got);
  return text;
}

// Between the line LOCAL VARIABLES with its rulers and the next thread's name, which a ruler follows (celery
// utils/debug.py, cry()).
std::string without_locals(std::string_view text) {
  const auto is_ruler = [](std::string_view line) {
    return line.size() >= 20 && line.find_first_not_of('=') == line.npos;
  };
  std::string out;
  bool inside = false;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    std::string_view rest = text;
    if (line == "LOCAL VARIABLES") {
      out += "LOCAL VARIABLES (left out)\n";
      inside = true;
      if (is_ruler(take_line(rest))) text = rest;
      continue;
    }
    // A thread's name, a ruler, and a stack behind it: locals look like none of the three in a row.
    rest = text;
    if (inside && is_ruler(take_line(rest)) && rest.starts_with("  File \"")) inside = false;
    if (!inside) (out += line) += '\n';
  }
  return out;
}

bool parse_faulthandler(std::string_view text, unsigned max_frames, RuntimeStacks& stacks) {
  const std::size_t before = stacks.threads.size();
  while (!text.empty() && stacks.threads.size() < max_printed_threads) {
    std::string_view line = take_line(text);
    const bool current = line.starts_with("Current thread 0x");
    if (current || line.starts_with("Thread 0x")) {
      if (line.find("(most recent call first):") == line.npos) continue;
      line.remove_prefix(current ? 15 : 7);
      RuntimeThread& thread = stacks.threads.emplace_back();
      thread.id = "thread " + std::string(line.substr(0, std::min(line.find(' '), std::size_t{20})));
      // 3.14 says its name: "Thread 0x00007f… [worker] (most recent call first):"
      if (const std::size_t open = line.find('['), close = line.rfind(']'); open < close && close != line.npos)
        thread.name = line.substr(open + 1, close - open - 1);
      thread.running = current;
    } else if (line.starts_with("  File \"") && stacks.threads.size() > before) {
      RuntimeThread& thread = stacks.threads.back();
      const std::size_t function = line.rfind(" in "), number = line.rfind(", line ", function);
      const std::size_t quote = line.rfind('"', number);
      if (function == line.npos || number == line.npos || quote == line.npos || quote < 8) continue;
      if (thread.frames.size() >= max_frames) {
        thread.truncated = true;
        continue;
      }
      Frame frame;
      frame.kind = "python";
      frame.function = line.substr(function + 4);
      frame.file = line.substr(8, quote - 8);
      std::from_chars(line.data() + number + 7, line.data() + function, frame.line);
      thread.frames.push_back(static_cast<std::uint32_t>(stacks.frames.size()));
      stacks.frames.push_back(std::move(frame));
    } else if (line == "  ..." && stacks.threads.size() > before) {
      stacks.threads.back().truncated = true;
    }
  }
  if (stacks.threads.size() > before) stacks.runtime = "CPython";
  return stacks.threads.size() > before;
}

}  // namespace stack
