// stack.signal: makes the target print its own stacks, and brings back what it printed.
#pragma once

#include "hatch/hatch.hpp"

namespace stack {

struct Signal {
  static constexpr hatch::About about{
      .id = "stack.signal",
      .title = "Make the target print its own stacks",
      .documentation =
          "Sends the signal at which the target prints what its threads are doing, and returns what it then wrote: "
          "SIGQUIT to a JVM, SIGUSR1 to the main process of a Celery worker (its cry handler), and the signal that a "
          "Python program gave to faulthandler.register().\n\n"
          "Nothing is sent where it would kill, or mean something else: to a process that does not catch the signal, "
          "to a Go program, to a child of a Celery worker, to Node.js. Nothing is sent either where the output could "
          "not be read: it must go to a file, its standard output or error, or the log that the configuration names.",
      .effect = hatch::Effect::act,
      .target = hatch::Target::required,
      .flags = HATCH_TARGET_LOG,
      .timeout = std::chrono::seconds{30},
      .capabilities = {"sys_ptrace", "dac_read_search", "kill"},
      .artifact_types = {"text/plain"},
  };

  std::string signal = "auto";

  void params(auto& p) {
    p.optional("signal", signal,
               "Which one. auto: QUIT for a JVM, USR1 for Celery, and for other Python programs USR1 or USR2, if they "
               "catch one of the two")
        .one_of({"auto", "QUIT", "USR1", "USR2"});
  }

  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);
};

}  // namespace stack
