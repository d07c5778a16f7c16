// From _PyRuntime to the frames of every thread.
//
// The target runs meanwhile. So a thread's frames are copied in one read as far as that goes, every pointer must lead to
// an object of the right type, and a walk counts when the thread's innermost frame is the same afterwards; else it is
// done again, a few times. What was not still is marked, and never is more than that.
#pragma once

#include "stack/python/objects.hpp"

namespace stack::python {

struct Code {
  Text file, name;  // the name is qualified since 3.11
  int first_line = 0;
  std::string lines;  // its table
};

struct CodeFrame {
  std::uint32_t code = 0;        // into Walk::codes
  std::int64_t instruction = 0;  // offset in bytes; negative: before the first
};

struct FrameChain {
  std::vector<CodeFrame> frames;        // innermost first
  std::vector<std::uint32_t> segments;  // frames of each call of the evaluation loop
  bool truncated = false;               // max_frames
  bool broken = false;                  // it ended in what is no frame
};

struct PythonThread {
  Address state = 0;        // its PyThreadState
  std::uint64_t ident = 0;  // pthread_t, what threading calls ident
  pid_t native_id = 0;      // as the target's pid namespace counts; 0 before 3.11
  std::int64_t interpreter = 0;
  FrameChain chain;
  bool moved = false;  // it ran while it was read
  bool holds_gil = false;
};

struct PythonInterpreter {
  Address state = 0;
  Address gil = 0;  // 0: none, or unknown
  Address modules = 0;
};

// Names and frames of code objects, each read once.
class Codes {
 public:
  explicit Codes(Objects& objects) : objects_(objects) {}
  // Its index; nothing where there is no code object.
  std::optional<std::uint32_t> index_of(Address code);
  std::vector<Code> take() { return std::move(codes_); }
  const Code& operator[](std::uint32_t index) const { return codes_[index]; }

 private:
  Objects& objects_;
  std::unordered_map<Address, std::uint32_t> known_;
  std::unordered_map<Address, Text> files_;
  std::vector<Code> codes_;
};

class Walk {
 public:
  Walk(Objects& objects, Codes& codes, unsigned max_frames)
      : objects_(objects), codes_(codes), max_frames_(max_frames) {}

  // `stop` is asked before each thread. False: it said so.
  bool run(Address runtime, const std::function<bool()>& stop);
  // The single frame at an address; nothing where there is none.
  std::optional<CodeFrame> frame(Address address);

  std::vector<PythonInterpreter> interpreters;
  std::vector<PythonThread> threads;
  bool list_broken = false;  // the list of threads changed under our hands until we gave up

 private:
  enum class List { whole, changed, stopped };
  List walk_threads(const PythonInterpreter& interpreter, std::int64_t id, const std::function<bool()>& stop);
  Address current_frame(const Copy& thread, const Copy& cframe) const;
  Memory::Part cframe_of(const Copy& thread, Copy& cframe) const;
  void read_chain(Copy& now, PythonThread& thread, Address gil_at);
  FrameChain chain(Address frame);
  std::size_t state_size() const;
  std::size_t frame_size() const;
  std::optional<CodeFrame> code_of(const Copy& frame);

  Objects& objects_;
  Codes& codes_;
  unsigned max_frames_;
  Copy chunk_;  // of the thread's frames
};

}  // namespace stack::python
