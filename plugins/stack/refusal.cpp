#include "stack/refusal.hpp"

#include <fcntl.h>

#include <cerrno>
#include <charconv>

#include "hatch/access.hpp"
#include "hatch/json.hpp"

namespace stack {

Tracer tracer_of(const Process& process, pid_t tid) {
  const auto status = read_below(process.proc_fd, "task/" + std::to_string(tid) + "/status", 16 * 1024);
  const std::string number{status ? status_value(*status, "TracerPid") : std::string_view{}};
  if (number.empty() || number == "0") return {};
  const auto name = read_below(AT_FDCWD, "/proc/" + number + "/comm", 64);
  if (!name) return {Tracer::Kind::unnamed, number};
  const auto shown = [&](std::string_view text) { return number + " (" + hatch::printable(text) + ")"; };
  constexpr std::string_view run = "hatchd: run ";
  if (!name->starts_with(run)) return {Tracer::Kind::other, shown(std::string_view{*name}.substr(0, name->find('\n')))};
  // The kernel keeps 15 bytes of a thread's name; the command line holds all of the title.
  const auto title = read_below(AT_FDCWD, "/proc/" + number + "/cmdline", 64);
  const std::string_view whole = title && title->starts_with(run) ? std::string_view{*title} : *name;
  return {Tracer::Kind::run, shown(whole.substr(0, whole.find_first_of(std::string_view{"\0\n", 2})))};
}

Trouble explain_refusal(const Process& process, pid_t tid, Refused refused) {
  const std::string number = std::to_string(process.pid);
  if (refused == Refused::tracing) {
    const Tracer tracer = tracer_of(process, tid);
    const bool is_run = tracer.kind == Tracer::Kind::run;
    if (tracer.kind != Tracer::Kind::none)
      return {Trouble::Kind::rights,
              "process " + number + " is being traced by process " + tracer.name +
                  (is_run ? ", another run of hatchd" : "") + "; a thread has one tracer at a time",
              {"tracing of process " + number + ", which process " + tracer.name + " holds"},
              is_run ? "try again when that run has ended; pause=none needs no tracing"
                     : "end that debugger or tracer, or let it detach; pause=none needs no tracing"};
    // Nothing forbids it: it was traced a moment ago, or by somebody who is not to be seen from this pid namespace.
    if (hatch::try_access(tid) == 0)
      return {Trouble::Kind::rights,
              "process " + number +
                  " was being traced by another process, which has let go since or cannot be seen "
                  "from here; a thread has one tracer at a time",
              {"tracing of process " + number + ", which another process held"},
              "try again; pause=none needs no tracing"};
  }
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
  if (hatch::try_access(process.pid) != EPERM && tracer_of(process, process.pid).kind == Tracer::Kind::none)
    return std::nullopt;
  return explain_refusal(process, process.pid, refused);
}

}  // namespace stack
