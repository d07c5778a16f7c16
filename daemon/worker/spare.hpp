// The processes of runs, as their plugin process holds them, and how a task gets into one that was forked before its run
// was there: fork(2) and the page faults that follow it take longer than many a hatch does.
#pragma once

#include <sys/types.h>

#include "worker/run.hpp"
#include "worker/standard_error.hpp"

namespace hatchd::worker {

struct RunProcess {
  pid_t pid = -1;
  UniqueFd cancel;              // an eventfd
  PauseBoard* board = nullptr;  // shared memory, owned
  StandardError errors;
  // To a process that waits for its task. Open until its run's end: a socket that is closed with something unread in it
  // takes with it what the other side has not read (unix(7), ECONNRESET).
  link::Channel channel;

  RunProcess() = default;
  RunProcess(RunProcess&& other) noexcept;
  RunProcess& operator=(RunProcess&& other) noexcept;
  ~RunProcess();

  // Makes all of it but the process: the end of the pipe that is to be its standard error, or nothing when no descriptor
  // or memory is left (errno).
  UniqueFd prepare();
};

// Sends a task, with its descriptors, which stay the caller's. False: it has too many of them for a message, or nobody
// reads. What a forked process has already is not sent: hatch, filter, cache_fd, cancel, board.
bool send_task(link::Channel& channel, const Task& task);
// Takes what send_task() sent; false if it is something else.
bool take_task(link::Message& message, Task& task);

}  // namespace hatchd::worker
