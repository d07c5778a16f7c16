// What the kernel says of a process's threads, by the numbers that the target itself uses for them.
#pragma once

#include <unordered_map>

#include "stack/model.hpp"
#include "stack/python/memory.hpp"

namespace stack::python {

struct KernelThread {
  std::string name;
  char state = '?';  // proc(5); a thread that hatchd holds shows what it did before
  bool running = false;
  std::string waiting_on;  // the system call
  Address futex = 0;       // where it waits, when it does so in futex(2)
};

class KernelThreads {
 public:
  explicit KernelThreads(const Process& process);
  // The number in hatchd's pid namespace of a thread that calls itself `inner`; 0: there is none.
  pid_t outer(pid_t inner) const;
  // The same of a pthread_t, whose structure has the thread's number at an offset that depends on the C library.
  pid_t of_pthread(Memory& memory, Address pthread) const;
  std::size_t count() const { return outer_.size(); }

  KernelThread look_at(pid_t tid) const;

 private:
  UniqueFd tasks_;
  std::unordered_map<pid_t, pid_t> outer_;
};

}  // namespace stack::python
