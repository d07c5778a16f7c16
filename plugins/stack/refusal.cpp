#include "stack/refusal.hpp"

#include <fcntl.h>

#include <cerrno>

#include "hatch/access.hpp"
#include "hatch/json.hpp"

namespace stack {

std::string tracer_of(const Process& process, pid_t tid) {
  const auto status = read_below(process.proc_fd, "task/" + std::to_string(tid) + "/status", 16 * 1024);
  const std::string tracer{status ? status_value(*status, "TracerPid") : std::string_view{}};
  if (tracer.empty() || tracer == "0") return {};
  const auto name = read_below(AT_FDCWD, "/proc/" + tracer + "/comm", 64);
  std::string shown = hatch::printable(name ? std::string_view{*name}.substr(0, name->find('\n')) : "?");
  return tracer + " (" + shown + ")";
}

Trouble explain_refusal(const Process& process, pid_t tid, Refused refused) {
  const std::string number = std::to_string(process.pid);
  if (const std::string tracer = tracer_of(process, tid); refused == Refused::tracing && !tracer.empty())
    return {Trouble::Kind::rights,
            "process " + number + " is being traced by process " + tracer + "; a thread has one tracer at a time",
            {"tracing of process " + number + ", which process " + tracer + " holds"},
            "end that debugger or tracer, or let it detach; pause=none needs no tracing"};
  hatch::Refusal refusal =
      hatch::explain_access(hatch::access_facts(process.pid, process.proc_fd),
                            refused == Refused::tracing ? hatch::Look::trace : hatch::Look::private_file);
  return {Trouble::Kind::rights, std::move(refusal.detail), std::move(refusal.missing), std::move(refusal.remedy)};
}

std::optional<Trouble> foresee_refusal(const Process& process, Refused refused) {
  if (refused == Refused::private_file) {
    if (read_below(process.proc_fd, "syscall", 1) || (errno != EACCES && errno != EPERM)) return std::nullopt;
    return explain_refusal(process, process.pid, refused);
  }
  if (hatch::try_access(process.pid) != EPERM && tracer_of(process, process.pid).empty()) return std::nullopt;
  return explain_refusal(process, process.pid, refused);
}

}  // namespace stack
