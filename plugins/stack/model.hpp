// What a dump passes from step to step. Two structs matter: Gathered is what was copied from the target while there
// were rights to do so, and Digest is what was made of it without any.
//
//   processes ── gather() ──> Gathered ── drop_rights() ── digest() ──> Digest ── render ──> result
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stack/arch.hpp"
#include "stack/cache/identity.hpp"
#include "stack/procfs.hpp"

namespace stack {

using Clock = std::chrono::steady_clock;
using Micros = std::chrono::microseconds;

enum class Pause {
  // One thread at a time, each for as long as its copy takes; none whose whole stack is to be had without, and none that
  // a stop would disturb.
  least,
  all,   // all threads at once: one consistent picture
  none,  // nobody: only threads that provably do not run are read
};

struct Options {
  Pause pause = Pause::least;
  bool lines = false;
  bool act = false;  // what leaves a trace in the target is allowed: a signal that opens an attach socket, an inspector
  unsigned max_frames = 256;
  // Whose stacks: "auto" (the runtime's that is found, else native), "native", "all" (both), or a runtime's own mode.
  std::string mode = "auto";
  bool group = false;  // equal stacks are shown once
  // Also threads in a call that a stop ends with EINTR are stopped.
  bool interrupt = false;
  int cache = -1;  // a folder for tables (cache/store.hpp), or none
  // Where the configuration has the profiles of this target, if it is a Go program: "http://127.0.0.1:6060/debug/pprof".
  std::string pprof;
};

// The fences around a dump, as the host knows them. begin() and end() surround every stop.
class Hold {
 public:
  virtual ~Hold() = default;
  virtual void begin() = 0;
  virtual void end() = 0;
  virtual bool cancelled() = 0;
  virtual Micros max_pause() const = 0;
  // Until the run's time is up. Who waits for one of many processes leaves the others their share.
  virtual std::chrono::milliseconds remaining() const { return std::chrono::hours{1}; }
  // Gives up all rights for good, of the calling process: a child that gather() makes. False: it could not.
  virtual bool drop_rights() { return true; }
};

// A process to look into; the descriptors stay the caller's.
struct Process {
  pid_t pid = 0;
  int pidfd = -1;
  int proc_fd = -1;  // directory /proc/PID
};

// Why a process, or all of them, could not be read.
struct Trouble {
  enum class Kind { gone, rights, other } kind = Kind::other;
  std::string detail;
  std::vector<std::string> missing;
  std::string remedy;
};

// A stretch of the target's address space.
struct Mapping {
  std::uint64_t start = 0, end = 0, offset = 0;
  bool readable = false, executable = false;
  std::uint64_t device = 0, inode = 0;  // 0: anonymous
  std::string path;                     // as /proc/PID/maps has it
};

// A program or library that the target has mapped.
struct Module {
  std::string path;  // without " (deleted)"
  bool deleted = false;
  std::uint64_t low = 0, high = 0;
  UniqueFd file;                            // the very file that is mapped, or none
  std::string image;                        // instead of a file: the vdso, copied from memory
  std::optional<cache::Identity> identity;  // of the file, where tables of it may be kept

  std::string_view name() const { return std::string_view{path}.substr(path.rfind('/') + 1); }
};

struct Address {
  std::uint64_t pc = 0;
  // Where the call is: pc is behind the call instruction, which may be another function's first byte. Equal to pc for
  // the innermost frame and for one that a signal interrupted.
  std::uint64_t lookup = 0;
};

struct RawStack {
  std::vector<Address> frames;  // innermost first
  bool truncated = false;
  bool outermost = false;  // the rules say that nobody called the last
  std::string error;       // why it ends early
};

struct ThreadCopy {
  pid_t tid = 0;
  std::string name;  // as the thread calls itself: hostile
  char state = '?';  // proc(5)
  bool running = false;
  std::string waiting_on;
  std::string error;  // why there is no stack
  std::optional<Registers> registers;
  std::uint64_t stack_start = 0;
  std::span<const std::byte> stack;
  bool stack_cut = false;          // the stack is larger than what was copied
  std::optional<RawStack> walked;  // instead of a copy, where it could be followed at once
  bool did_not_stop = false;       // though it was told to; explain_unstopped() says why
  bool spared = false;             // read without a stop, which would have ended its call with EINTR
  Micros held{0};
};

class StackMemory;
class RuntimeReader;
namespace cache {
class Tables;
}
struct RuntimeStacks;

struct ProcessCopy {
  pid_t pid = 0;
  std::string name;
  Process target;                 // while the descriptors are open
  std::vector<Mapping> mappings;  // ascending
  std::vector<Module> modules;    // ascending
  bool native = false;            // native stacks were asked for, or stand in
  std::vector<ThreadCopy> threads;
  std::string perf_map;                   // its names for code that it made itself (perf_map.hpp)
  std::shared_ptr<StackMemory> memory;    // what the spans of `threads` point into
  std::shared_ptr<cache::Tables> tables;  // of `modules`
  std::shared_ptr<RuntimeReader> reader;  // of the runtime that was found and asked for, with what it gathered
  Micros paused{0};                       // the longest that any one thread was held
  std::optional<Trouble> trouble;         // nothing could be read
  std::string note;                       // something is missing, and why
};

struct Gathered {
  std::deque<ProcessCopy> processes;  // readers refer to their process, which must not move
  bool cancelled = false;
};

// One line of a stack. Equal for all threads that stand at the same address.
struct Frame {
  std::string function;  // demangled; empty: no symbol covers the address
  std::string file;
  int line = 0;
  std::string module;
  std::uint64_t offset = 0;  // in the module's own addresses, as addr2line takes them
  bool in_module = false;
  bool inlined = false;
  const char* kind = "native";  // or the mode of the runtime whose frame it is: "python", "jvm", "node", "go"
  bool is_native() const { return std::string_view{kind} == "native"; }
};

struct ThreadStack {
  std::vector<std::uint32_t> frames;  // into ProcessStacks::frames, innermost first
  bool truncated = false;
  std::string error;
};

struct ProcessStacks {
  std::vector<Frame> frames;         // each distinct one once
  std::vector<ThreadStack> threads;  // as ProcessCopy::threads
  std::shared_ptr<RuntimeStacks> runtime;
};

struct Digest {
  std::vector<ProcessStacks> processes;  // as Gathered::processes
  double runtime_ms = 0, unwind_ms = 0, symbols_ms = 0;
  bool cancelled = false;
};

inline double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}
inline Micros micros_since(Clock::time_point begin) { return std::chrono::duration_cast<Micros>(Clock::now() - begin); }

}  // namespace stack
