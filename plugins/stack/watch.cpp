#include "stack/watch.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <unordered_set>

#include "stack/memory.hpp"
#include "stack/refusal.hpp"
#include "stack/threads.hpp"
#include "stack/waiting.hpp"

namespace stack {
namespace {

constexpr int max_passes = 4;
constexpr int attempts = 3;  // for a thread that runs now and then

// A small file of /proc, read anew by each call: one read is one consistent answer. Empty: it cannot be read.
std::string read_anew(const UniqueFd& file) {
  char text[512];
  const ssize_t n = file ? ::pread(file.get(), text, sizeof text, 0) : -1;
  return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string{};
}

// How often the thread was given a CPU. Empty: not to be had.
struct Turns {
  std::string count;
  bool of_arrivals = false;  // counted when the thread is given a CPU; else when it leaves one
  bool operator==(const Turns&) const = default;
};

// The third field of schedstat, or the switches of status where the kernel keeps no schedstat, which it may say by
// zeros: of a thread that has run once the count is above.
Turns turns_taken(int tasks, const std::string& tid, const UniqueFd& schedstat) {
  const std::string text = read_anew(schedstat);
  if (const std::size_t last = text.rfind(' '); last != text.npos && text.substr(last) != " 0\n")
    return {text.substr(last), true};
  const auto status = read_below(tasks, tid + "/status", 16 * 1024);
  if (!status) return {};
  return {std::string(status_value(*status, "voluntary_ctxt_switches")) + "/" +
              std::string(status_value(*status, "nonvoluntary_ctxt_switches")),
          false};
}

UniqueFd open_file(int directory, const std::string& path) {
  return UniqueFd{::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC)};
}

}  // namespace

std::optional<SystemCall> parse_system_call(std::string_view text) {
  std::array<std::uint64_t, 9> values{};
  std::size_t count = 0;
  while (!text.empty() && count < values.size()) {
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::int64_t decimal = 0;
    if (count == 0) {
      if (std::from_chars(word.data(), word.data() + word.size(), decimal).ec != std::errc{}) return std::nullopt;
      values[count++] = static_cast<std::uint64_t>(decimal);
      continue;
    }
    if (word.starts_with("0x")) word.remove_prefix(2);
    if (std::from_chars(word.data(), word.data() + word.size(), values[count++], 16).ec != std::errc{})
      return std::nullopt;
  }
  if (count != 9 && count != 3) return std::nullopt;
  SystemCall call{values[0], values[count - 2], values[count - 1], {}};
  if (count == 9) std::copy_n(values.begin() + 1, call.arguments.size(), call.arguments.begin());
  return call;
}

Asleep copy_sleeping(int tasks, std::size_t limit, ProcessCopy& process, ThreadCopy& thread) {
  const std::string tid = std::to_string(thread.tid);
  const UniqueFd schedstat = open_file(tasks, tid + "/schedstat");
  const Turns turns = turns_taken(tasks, tid, schedstat);
  errno = 0;
  const UniqueFd call = open_file(tasks, tid + "/syscall");
  const std::string text = call ? read_anew(call) : std::string{};
  if (text.empty()) {
    const int error = errno;  // of open or read, whichever failed
    if (error == EACCES || error == EPERM) return Asleep::refused;
    thread.error =
        error == ENOENT || error == ESRCH ? "ended before it could be read" : "its system call cannot be read";
    return Asleep::failed;
  }
  const auto asleep = parse_system_call(text);
  if (!asleep || turns.count.empty()) return Asleep::awake;

  Registers registers;
  registers.values[Registers::sp_number] = asleep->sp;
  registers.values[Registers::pc_number] = asleep->pc;
  thread.registers = registers;
  copy_stack(process.mappings, limit, *process.memory, thread, Clock::time_point::max());
  // It is proved only now. It slept when its call was read, and has been given no CPU since before that. A count that
  // rises when a thread leaves its CPU says nothing of one that was woken and still runs; that one shows no call.
  if ((!turns.of_arrivals && read_anew(call) != text) || turns_taken(tasks, tid, schedstat) != turns) {
    thread.registers.reset();
    process.memory->give_back(std::exchange(thread.stack, {}));
    return Asleep::awake;
  }
  thread.running = false;
  if (asleep->number != no_system_call) thread.waiting_on = system_call_name(asleep->number);
  return Asleep::read;
}

bool copy_unstopped(const Process& target, const Options& options, Hold& hold, ProcessCopy& process) {
  const std::size_t limit = stack_limit(options);
  const UniqueFd tasks = open_threads(target.proc_fd);
  std::unordered_set<pid_t> seen;
  bool any_read = false;
  for (int pass = 0; pass < max_passes; ++pass) {
    const std::size_t first = process.threads.size();
    if (add_new_threads(target.proc_fd, process.threads, seen) == 0) break;
    for (std::size_t i = first; i < process.threads.size(); ++i) {
      ThreadCopy& thread = process.threads[i];
      if (hold.cancelled()) return false;
      if (thread.state == 'Z' || thread.state == 'X') {
        thread.error = "has ended (zombie); the process goes on without it";
        continue;
      }
      Asleep answer = Asleep::awake;
      for (int attempt = 0; attempt < attempts && answer == Asleep::awake; ++attempt)
        answer = copy_sleeping(tasks.get(), limit, process, thread);
      any_read |= answer == Asleep::read;
      if (answer == Asleep::awake) thread.error = "it runs, and with pause=none nobody is stopped";
      if (answer == Asleep::refused) {
        const Trouble trouble = explain_refusal(target, thread.tid, Refused::private_file);
        thread.error = trouble.detail;
        if (!any_read) {
          process.trouble = trouble;
          return true;
        }
      }
    }
  }
  return true;
}

}  // namespace stack
