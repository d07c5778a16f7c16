// What a Python program knows beside its frames: the names that threading gives, the tasks of asyncio.
#pragma once

#include "stack/python/walk.hpp"

namespace stack::python {

struct Task {
  Text name;
  FrameChain chain;        // innermost first: what it awaits, down to where it waits
  bool running = false;    // its frames are on the stack of a thread
  std::string waiting_on;  // the type of what it waits for: "Future", "Task"; empty: nothing, it is ready to go on
};

class Program {
 public:
  Program(Objects& objects, Walk& walk) : objects_(objects), walk_(walk) {}

  // Reads both through the dictionary of an interpreter's modules. What cannot be read is left out.
  void read(const PythonInterpreter& interpreter, unsigned max_frames, const std::function<bool()>& stop);

  std::unordered_map<std::uint64_t, Text> names;  // by PythonThread::ident
  std::vector<Task> tasks;

 private:
  void read_names(Address threading);
  void read_tasks(Address asyncio_tasks, unsigned max_frames, const std::function<bool()>& stop);
  void read_task(Address task, unsigned max_frames);
  bool follow(Address coroutine, unsigned max_frames, Task& task);

  Objects& objects_;
  Walk& walk_;
};

}  // namespace stack::python
