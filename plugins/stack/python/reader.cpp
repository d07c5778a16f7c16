#include <algorithm>
#include <charconv>
#include <map>

#include "hatch/json.hpp"
#include "stack/python/elf.hpp"
#include "stack/python/kernel.hpp"
#include "stack/python/lines.hpp"
#include "stack/python/program.hpp"
#include "stack/python/python.hpp"
#include "stack/refusal.hpp"

namespace stack {
namespace python {
namespace {

// A number that follows `prefix` somewhere in `text`; -1: none does.
int number_behind(std::string_view text, std::string_view prefix) {
  const std::size_t at = text.find(prefix);
  if (at == text.npos) return -1;
  int number = -1;
  const std::string_view rest = text.substr(at + prefix.size());
  std::from_chars(rest.data(), rest.data() + rest.size(), number);
  return number;
}

// 3.10 and earlier say it in the names of files alone: python3.9, libpython3.9.so.1.0, _json.cpython-39-x86_64-….so.
unsigned version_by_names(const Module& interpreter, const std::vector<Module>& modules) {
  if (const int minor = number_behind(interpreter.name(), "python3."); minor >= 0)
    return version_of(3, static_cast<unsigned>(minor));
  for (const Module& module : modules)
    if (const int both = number_behind(module.name(), ".cpython-3"); both >= 0)
      return version_of(3, static_cast<unsigned>(both));
  for (const Module& module : modules)
    if (const int minor = number_behind(module.path, "/python3."); minor >= 0)
      return version_of(3, static_cast<unsigned>(minor));
  return 0;
}

std::string version_text(unsigned version, unsigned hex) {
  std::string text = "CPython";
  if (!version) return text;
  text += " " + std::to_string(version >> 8) + "." + std::to_string(version & 0xFF);
  return hex ? text + "." + std::to_string(hex >> 8 & 0xFF) : text;
}

class Reader final : public RuntimeReader {
 public:
  Reader(const Subject& subject, const Interpreter& interpreter, unsigned version)
      : process_(subject.process),
        living_(subject.living),
        interpreter_(interpreter),
        version_(version),
        memory_(subject.living) {}

  std::string_view mode() const override { return "python"; }
  std::string runtime() const override { return version_text(version_, interpreter_.version) + flavour_; }
  bool reads_memory() const override { return true; }
  bool has_stacks() const override { return !threads_.empty(); }

  bool gather(const Options& options, Hold& hold) override {
    const auto stop = [&hold] { return hold.cancelled(); };
    if (!choose_layout()) return true;
    Objects objects{memory_, *layout_};
    Codes codes{objects};
    Walk walk{objects, codes, options.max_frames};
    bool finished = walk.run(interpreter_.runtime, stop);
    Program program{objects, walk};
    for (const PythonInterpreter& interpreter : walk.interpreters)
      if (finished) program.read(interpreter, options.max_frames, stop);
    describe(walk, program);
    threads_ = std::move(walk.threads);
    tasks_ = std::move(program.tasks);
    codes_ = codes.take();
    list_broken_ = walk.list_broken;
    if (threads_.empty()) explain_nothing();
    return finished && !stop();
  }

  RuntimeStacks digest(const Options&, Hold&) override {
    RuntimeStacks stacks;
    stacks.runtime = runtime();
    stacks.loop = "_PyEval_EvalFrameDefault";
    stacks.trouble = trouble_;
    if (list_broken_) stacks.note = "the list of threads changed while it was read, and threads may be missing";
    for (std::size_t i = 0; i < threads_.size(); ++i) stacks.threads.push_back(thread(i, stacks));
    std::ranges::sort(stacks.threads, {}, &RuntimeThread::tid);
    for (std::size_t i = 0; i < tasks_.size(); ++i) stacks.threads.push_back(task(i, stacks));
    if (!threads_.empty()) {
      if (layout_ && !layout_->free_threaded) {
        const auto holder = std::ranges::find_if(facts_, [](const Facts& facts) { return facts.holds_gil; });
        stacks.members.emplace_back("gil_holder", holder == facts_.end() ? "null" : std::to_string(holder->tid));
      }
      stacks.members.emplace_back("threads_without_python", std::to_string(without_python_));
    }
    return stacks;
  }

 private:
  // What belongs to threads_[i].
  struct Facts {
    pid_t tid = 0;
    std::optional<Text> name;
    KernelThread kernel;
    bool holds_gil = false, waits_for_gil = false;
  };

  bool choose_layout() {
    if (version_ < oldest_version || version_ > newest_version) {
      trouble_ = Trouble{
          Trouble::Kind::other, runtime() + " is none of the versions whose structures are known, 3.8 to 3.14", {}, {}};
      return false;
    }
    if (const Layout* const known = known_layout(version_))
      layout_ = *known;
    else
      layout_ = read_layout(memory_, interpreter_.runtime, version_);
    if (layout_ && layout_->free_threaded) flavour_ = " free-threaded";
    if (!layout_) explain_nothing();
    return layout_.has_value();
  }

  // Why there is not a single thread.
  void explain_nothing() {
    const std::string number = std::to_string(process_.pid);
    if (memory_.error() == EPERM || memory_.error() == EACCES)
      trouble_ = explain_refusal(process_, living_, Refused::tracing);
    else if (memory_.error() == ESRCH || has_ended(process_.pidfd, process_.proc_fd))
      trouble_ = Trouble{Trouble::Kind::gone, "process " + number + " has ended", {}, {}};
    else
      trouble_ = Trouble{Trouble::Kind::other,
                         "no interpreter could be read in process " + number +
                             ": Python has not begun or is about to end there, or it was built in an unusual way",
                         {},
                         {}};
  }

  // Still with rights: the kernel's view of each thread, and the program's.
  void describe(Walk& walk, Program& program) {
    const KernelThreads kernel{process_};
    std::size_t known = 0;
    for (const PythonThread& thread : walk.threads) {
      Facts& facts = facts_.emplace_back();
      facts.tid = layout_->thread_native_id ? kernel.outer(thread.native_id) : kernel.of_pthread(memory_, thread.ident);
      facts.holds_gil = thread.holds_gil;
      if (const auto name = program.names.find(thread.ident); name != program.names.end()) facts.name = name->second;
      if (!facts.tid) continue;
      ++known;
      facts.kernel = kernel.look_at(facts.tid);
      facts.waits_for_gil = std::ranges::any_of(walk.interpreters, [&](const PythonInterpreter& interpreter) {
        return interpreter.gil && facts.kernel.futex >= interpreter.gil &&
               facts.kernel.futex - interpreter.gil < gil_size;
      });
    }
    without_python_ = kernel.count() > known ? kernel.count() - known : 0;
  }

  RuntimeThread thread(std::size_t i, RuntimeStacks& stacks) {
    const PythonThread& source = threads_[i];
    const Facts& facts = facts_[i];
    RuntimeThread thread;
    thread.tid = facts.tid;
    if (!facts.tid) thread.id = "pthread " + hex(source.ident);
    thread.name = facts.name ? facts.name->utf8() : facts.kernel.name;
    if (facts.tid) thread.letter = facts.kernel.state;
    thread.running = facts.kernel.running;
    thread.waiting_on = facts.waits_for_gil ? "the GIL" : facts.kernel.waiting_on;
    add_frames(source.chain, thread, stacks);
    thread.segments = source.chain.segments;
    if (source.chain.broken)
      thread.error = source.moved ? "it ran while it was read, and its frames changed: the rest is not known"
                                  : "a frame is not where it should be: the rest is not known";
    if (facts.holds_gil) thread.remark = "holds the GIL";
    thread.members.emplace_back("holds_gil", facts.holds_gil ? "true" : "false");
    if (source.interpreter > 0) thread.members.emplace_back("interpreter", std::to_string(source.interpreter));
    return thread;
  }

  RuntimeThread task(std::size_t i, RuntimeStacks& stacks) {
    const Task& source = tasks_[i];
    RuntimeThread thread;
    thread.id = "asyncio task " + std::to_string(i + 1);
    thread.name = source.name.utf8();
    thread.running = source.running;
    thread.state = source.running ? "running" : source.waiting_on.empty() ? "ready" : "suspended";
    thread.waiting_on = source.waiting_on;
    add_frames(source.chain, thread, stacks);
    return thread;
  }

  void add_frames(const FrameChain& chain, RuntimeThread& thread, RuntimeStacks& stacks) {
    thread.truncated = chain.truncated || chain.broken;
    for (const CodeFrame& frame : chain.frames) {
      const Code& code = codes_[frame.code];
      const int line = line_of(layout_->lines, code.lines, code.first_line, frame.instruction);
      // By line and not by instruction: those differ where the interpreter has rewritten its code meanwhile.
      const auto [known, fresh] =
          shown_.try_emplace({frame.code, line}, static_cast<std::uint32_t>(stacks.frames.size()));
      if (fresh) {
        Frame& shown = stacks.frames.emplace_back();
        shown.function = code.name.utf8();
        shown.file = code.file.utf8();
        shown.line = line;
        shown.kind = "python";
      }
      thread.frames.push_back(known->second);
    }
  }

  static std::string hex(std::uint64_t value) {
    char text[24];
    const auto end = std::to_chars(text, text + sizeof text, value, 16).ptr;
    return "0x" + std::string(text, end);
  }

  const Process& process_;
  pid_t living_;
  Interpreter interpreter_;
  unsigned version_;
  ProcessMemory memory_;
  std::optional<Layout> layout_;
  std::string flavour_;

  std::vector<PythonThread> threads_;
  std::vector<Facts> facts_;
  std::vector<Task> tasks_;
  std::vector<Code> codes_;
  std::size_t without_python_ = 0;
  bool list_broken_ = false;
  std::optional<Trouble> trouble_;
  std::map<std::pair<std::uint32_t, int>, std::uint32_t> shown_;  // frames of `stacks`, by code and line
};

// An interpreter is megabytes; and its name says so, unless a program has it built in.
constexpr std::uint64_t least_size = std::uint64_t{1} << 20;

bool may_hold_interpreter(const Module& module, bool named) {
  const std::string_view name = module.name();
  const bool says_so = name.find("python") != name.npos && name.find(".cpython-") == name.npos;
  return named ? says_so : !says_so && module.high - module.low >= least_size;
}

}  // namespace
}  // namespace python

std::unique_ptr<RuntimeReader> detect_python(const Subject& subject) {
  for (const bool named : {true, false})
    for (const Module& module : subject.modules) {
      if (!python::may_hold_interpreter(module, named)) continue;
      const auto first = std::ranges::lower_bound(subject.mappings, module.low, {}, &Mapping::start);
      if (first == subject.mappings.end()) continue;
      const auto interpreter = python::find_interpreter(module, *first);
      if (!interpreter) continue;
      const unsigned version =
          interpreter->version ? interpreter->version >> 16 : python::version_by_names(module, subject.modules);
      return std::make_unique<python::Reader>(subject, *interpreter, version);
    }
  return nullptr;
}

}  // namespace stack
