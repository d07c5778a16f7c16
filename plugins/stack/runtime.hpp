// The seam between stack.dump and the runtimes that it knows: CPython, HotSpot, Node.js, Go. A runtime is a folder with
// one function that looks at a process and gives a reader of its stacks, or nothing when the process is none of its own.
//
//   detect ──> RuntimeReader ── gather() ── drop_rights() ── digest() ──> RuntimeStacks ── merge ── render
//
// runtimes.cpp is the table of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stack/model.hpp"

namespace stack {

// What is known of a process before a reader begins. The references outlive the reader.
struct Subject {
  const Process& process;
  pid_t living;                          // a thread that has not ended: /proc files of an ended main thread are empty
  const std::vector<Mapping>& mappings;  // ascending
  const std::vector<Module>& modules;    // ascending, with the descriptors of their files
};

// A thread as its runtime sees it, or what the runtime schedules on threads: a goroutine, an asyncio task. All text in
// it is the target's and hostile.
struct RuntimeThread {
  pid_t tid = 0;   // in hatchd's pid namespace; 0: no thread of the kernel, or not known which
  std::string id;  // the runtime's own: "goroutine 18"; empty where that is the tid
  std::string name;
  std::string state;   // the runtime's word, "RUNNABLE", "IO wait"; empty: it says nothing
  char letter = 0;     // the kernel's (proc(5)), where the runtime has no word and the reader looked
  std::string remark;  // what the text says besides: "holds the GIL"
  bool running = false;
  std::string waiting_on;             // "lock <0x00000000f0a1> held by \"main\""
  std::uint64_t count = 1;            // how many stand there: more than one where the runtime counts them alone
  std::vector<std::uint32_t> frames;  // into RuntimeStacks::frames, innermost first
  bool truncated = false;
  // How many of `frames` each call of RuntimeStacks::loop carries, innermost first. Empty: not known.
  std::vector<std::uint32_t> segments;
  std::string error;                                         // why there is no stack, or not all of it
  std::vector<std::pair<std::string, std::string>> members;  // further members of threads[]: name, JSON value
};

// A file that goes with the answer, such as the runtime's own text of a dump.
struct RuntimeArtifact {
  std::string name;  // [A-Za-z0-9._-]
  std::string type;  // media type
  std::string content;
};

struct RuntimeStacks {
  std::string runtime;        // "CPython 3.11.2"
  std::vector<Frame> frames;  // each distinct one once
  std::vector<RuntimeThread> threads;
  // Native frames that stand for frames of the runtime, which take their place with mode=all: those of the function
  // with this name or, where it is empty, those in no module (JIT code).
  std::string loop;
  Micros paused{0};                // the longest that any one thread was held
  std::optional<Trouble> trouble;  // nothing could be read: with mode=auto the native stacks stand in
  std::string note;                // something is missing, and why; or what acting would add
  std::vector<std::pair<std::string, std::string>> members;  // further members of processes[]: name, JSON value
  std::vector<RuntimeArtifact> artifacts;
};

class RuntimeReader {
 public:
  virtual ~RuntimeReader() = default;
  // The value of the parameter `mode` that asks for it: "python", "jvm", "node", "go".
  virtual std::string_view mode() const = 0;
  // "CPython 3.11", for what is said of a process whose stacks could not be read.
  virtual std::string runtime() const = 0;
  // It reads memory alone and asks nothing of the target: with pause=all gather() is called while all threads stand
  // still, on the thread that traces them, and Hold::max_pause() is what is left of the budget.
  virtual bool reads_memory() const { return false; }
  // How it would be read, in a few words, for a dry run; empty: there is but one way. Asks nothing of the target.
  virtual std::string foresee(const Options&) const { return {}; }
  // Everything that needs rights on the target. False: cancelled. What goes wrong is kept for digest() to tell.
  virtual bool gather(const Options& options, Hold& hold) = 0;
  // After gather(): there is something that digest() makes stacks of. Else mode=auto copies native stacks instead.
  virtual bool has_stacks() const = 0;
  // Without rights: parses what was gathered.
  virtual RuntimeStacks digest(const Options& options, Hold& hold) = 0;
};

// Looks at names, mappings and ELF notes alone: no memory of the target is read, nothing is sent to it.
using DetectRuntime = std::unique_ptr<RuntimeReader> (*)(const Subject&);

}  // namespace stack
