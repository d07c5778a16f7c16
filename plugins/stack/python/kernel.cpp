#include "stack/python/kernel.hpp"

#include <sys/syscall.h>

#include <array>
#include <charconv>

#include "stack/threads.hpp"
#include "stack/waiting.hpp"

namespace stack::python {
namespace {

// "202 0x7f00 0x89 …": the call and its first argument; or "running", or "-1 …" outside of a call.
std::pair<std::int64_t, std::uint64_t> parse_call(std::string_view text) {
  std::int64_t call = -1;
  std::uint64_t argument = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), call);
  if (error != std::errc{}) return {-1, 0};
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(" 0x")) std::from_chars(text.data() + 3, text.data() + text.size(), argument, 16);
  return {call, argument};
}

// struct pthread's tid: glibc on x86-64 and aarch64 (nptl/descr.h), musl on both (src/internal/pthread_impl.h).
constexpr std::array<unsigned, 4> tid_offsets = {0x2d0, 0xd0, 0x30, 0x20};

}  // namespace

KernelThreads::KernelThreads(const Process& process) : tasks_(open_threads(process.proc_fd)) {
  const auto status = read_below(process.proc_fd, "status", 16 * 1024);
  const bool nested = status && status_value(*status, "NSpid").find('\t') != std::string_view::npos;
  for (const pid_t tid : list_threads(process.proc_fd)) {
    pid_t inner = tid;
    if (nested)
      if (const auto own = read_below(process.proc_fd, "task/" + std::to_string(tid) + "/status", 16 * 1024))
        inner = own_number(*own);
    outer_.emplace(inner, tid);
  }
}

pid_t KernelThreads::outer(pid_t inner) const {
  const auto known = outer_.find(inner);
  return known == outer_.end() ? 0 : known->second;
}

pid_t KernelThreads::of_pthread(Memory& memory, Address pthread) const {
  for (const unsigned offset : tid_offsets)
    if (const auto inner = memory.get<pid_t>(pthread + offset))
      if (const pid_t tid = outer(*inner)) return tid;
  return 0;
}

KernelThread KernelThreads::look_at(pid_t tid) const {
  KernelThread thread;
  const std::string task = std::to_string(tid);
  const auto text = read_record(tasks_.get(), task + "/stat");
  auto stat = text ? parse_stat(*text) : std::nullopt;
  if (!stat) return thread;
  thread.name = std::move(stat->name);
  thread.state = stat->state;
  const auto line = read_record(tasks_.get(), task + "/syscall");
  const auto [call, argument] = parse_call(line.value_or(""));
  if (call >= 0 && thread.state != 'R') {
    thread.waiting_on = system_call_name(static_cast<std::uint64_t>(call));
    if (call == SYS_futex) thread.futex = argument;
  }
  if (thread.state == 't') thread.state = call >= 0 ? 'S' : 'R';
  thread.running = thread.state == 'R';
  return thread;
}

}  // namespace stack::python
