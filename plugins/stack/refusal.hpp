// Why the kernel would not let us look into a process, in words that lead to a remedy.
#pragma once

#include <optional>

#include "stack/model.hpp"

namespace stack {

// What was refused: tracing asks one question of the kernel, a file that belongs to the target's user another before
// it.
enum class Refused { tracing, private_file };

// After EPERM or EACCES on a thread of the process; hatch/access.hpp has the rules.
Trouble explain_refusal(const Process& process, pid_t tid, Refused refused);
// Whether it would be refused, without stopping anybody; nullopt: it would not.
std::optional<Trouble> foresee_refusal(const Process& process, Refused refused);

struct Tracer {
  enum class Kind {
    none,
    run,      // another run of a hatchd, which lets go of the thread soon
    unnamed,  // it ends at this moment, or is hidden from us
    other,
  } kind = Kind::none;
  std::string name;  // "1234 (gdb)"
};
// Who traces `tid`; one of another pid namespace may show as none.
Tracer tracer_of(const Process& process, pid_t tid);

}  // namespace stack
