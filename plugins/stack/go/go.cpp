#include "stack/go/go.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <map>
#include <thread>
#include <unordered_map>

#include "hatch/json.hpp"
#include "stack/go/elf_file.hpp"
#include "stack/go/goroutines.hpp"
#include "stack/go/layout.hpp"
#include "stack/go/pclntab.hpp"
#include "stack/go/pprof.hpp"
#include "stack/memory.hpp"
#include "stack/stop.hpp"
#include "stack/threads.hpp"

namespace stack {
namespace {

constexpr std::size_t max_stacks = std::size_t{256} << 20;  // of all goroutines together
constexpr std::size_t g_bytes = 448, m_bytes = 256;
constexpr std::size_t max_reasons = 64, max_reason = 64;
// The head of runtime.g, the same from Go 1.5 to 1.24: stack bounds, m, sched (gobuf: sp, pc) and syscallsp.
constexpr std::size_t lo_at = 0, hi_at = 8, m_at = 48, sp_at = 56, pc_at = 64, syscall_sp_at = 112, syscall_pc_at = 120;
constexpr std::size_t head_bytes = 128;

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  std::uint64_t word = 0;
  if (offset + sizeof word <= bytes.size()) std::memcpy(&word, bytes.data() + offset, sizeof word);
  return word;
}

// A goroutine as it was copied.
struct Copy {
  std::array<std::byte, g_bytes> g{};
  std::uint64_t stack_start = 0;
  std::string stack;
  bool moved = false;  // it ran while it was copied, each time

  std::uint64_t word(std::size_t offset) const { return word_at(g, offset); }
};

// "go1.19.8" of the build information, which 1.18 and later have inline.
std::string version_of(const go::ElfFile& file) {
  const Elf64_Shdr* const section = file.section(".go.buildinfo");
  const auto content = section ? file.read(*section, 4096) : std::nullopt;
  if (!content || content->size() < 33 || !((*content)[15] & 2)) return {};
  const std::size_t size = static_cast<unsigned char>((*content)[32]);
  const std::string version = size < 0x80 ? content->substr(33, size) : std::string{};
  const bool plain = std::all_of(version.begin(), version.end(), [](char c) { return c > ' ' && c < 0x7f; });
  return plain && version.starts_with("go") ? version.substr(0, 40) : std::string{};
}

void add_text(RuntimeStacks& stacks, const char* name, std::string_view text) {
  std::string quoted;
  hatch::append_quoted(quoted, text);
  stacks.members.emplace_back(name, std::move(quoted));
}

class GoReader final : public RuntimeReader {
 public:
  GoReader(const Subject& subject, UniqueFd program, go::ElfFile file, std::uint64_t base)
      : process_(subject.process),
        living_(subject.living),
        mappings_(subject.mappings),
        program_(std::move(program)),
        file_(std::move(file)),
        bias_(base - file_.first_page()),
        version_(version_of(file_)),
        symbols_(file_.symbols(std::array<std::string_view, 2>{"runtime.allgs", "runtime.waitReasonStrings"})) {}

  std::string_view mode() const override { return "go"; }
  std::string runtime() const override { return version_.empty() ? "Go" : "Go " + version_.substr(2); }
  bool has_stacks() const override { return !copies_.empty() || !told_.text.empty(); }

  // Memory is read where it can be, since that stops nobody who waits. The program's own endpoint for profiles stops
  // all of them at once. So it is asked where memory does not do, where one consistent picture is wanted, and where the
  // operator has named it.
  bool gather(const Options& options, Hold& hold) override {
    const Way way = choose(options);
    if (way.endpoint && !go::ask_pprof(question(options, !way.memory), hold, told_)) return false;
    if (!told_.text.empty()) return true;
    if (!way.memory) {
      explain(way, options, told_.why);
      return true;
    }
    if (symbols_[1]) read_reasons(*symbols_[1]);
    if (!read_goroutines(bias_ + symbols_[0]->address, options, hold)) return false;
    kernel_ = threads_by_own_number(process_.proc_fd);
    if (options.pause == Pause::none) return true;
    return copy_running_threads(options, hold);
  }

  std::string foresee(const Options& options) const override {
    const Way way = choose(options);
    std::string why;
    const std::string servers = way.endpoint ? go::foresee_pprof(question(options, !way.memory), why) : std::string{};
    std::string text = "goroutines ";
    if (!servers.empty()) text += "through net/http/pprof, which is looked for on " + servers;
    if (!servers.empty() && way.memory) text += ", else ";
    if (way.memory) return text + "from its memory";
    if (!servers.empty()) return text + ", else threads with Go's names";
    return "threads with Go's names: " + std::string(why_no_memory()) +
           (way.endpoint ? "; no profiles: " + why : std::string{});
  }

  RuntimeStacks digest(const Options& options, Hold& hold) override;

 private:
  struct Way {
    bool memory = false, endpoint = false;
  };

  Way choose(const Options& options) const {
    Way way;
    way.memory = why_no_memory().empty();
    way.endpoint =
        options.pause != Pause::none && (!way.memory || options.pause == Pause::all || !options.pprof.empty());
    return way;
  }

  // Empty: its memory can be read, as far as can be told without parsing its file.
  std::string_view why_no_memory() const {
    if (!symbols_[0]) return "the program has no symbol table (-ldflags=-s), which leads to its goroutines";
    if (!go::knows_layout(go::minor_version(version_)) && !file_.section(".debug_info") &&
        !file_.section(".zdebug_info"))
      return "the layout of its goroutines is not known without debug information";
    return {};
  }

  void explain(const Way& way, const Options& options, const std::string& no_endpoint) {
    const bool symbols = symbols_[0].has_value();
    trouble_ = {Trouble::Kind::other, std::string(why_no_memory()), {}, {}};
    if (way.endpoint)
      trouble_->detail += ", and they were not to be had through net/http/pprof: " + no_endpoint;
    else
      trouble_->detail += ", and pause=none asks no endpoint, which would stop all of them";
    trouble_->remedy = std::string("build it without ") + (symbols ? "-ldflags=-w" : "-ldflags=-s") +
                       (!way.endpoint           ? ", or take pause=least"
                        : options.pprof.empty() ? ", or let it serve net/http/pprof on a loopback address"
                                                : ", or see to the address in plugins.stack.pprof");
  }

  go::PprofQuestion question(const Options& options, bool groups) const {
    return {process_, living_, file_, go::minor_version(version_), options.pprof, groups};
  }

  RuntimeStacks digest_text(const Options& options);

  bool read(std::uint64_t from, std::span<std::byte> into) const {
    return read_memory(living_, from, into) == into.size();
  }

  void read_reasons(const go::Found& table) {
    std::vector<std::uint64_t> headers(2 * std::min<std::size_t>(table.size / 16, max_reasons));
    if (!read(bias_ + table.address, std::as_writable_bytes(std::span{headers}))) return;
    for (std::size_t i = 0; i + 1 < headers.size(); i += 2) {
      std::string text(std::min<std::uint64_t>(headers[i + 1], max_reason), '\0');
      if (!read(headers[i], std::as_writable_bytes(std::span{text}))) text.clear();
      reasons_.push_back(std::move(text));
    }
  }

  // The runtime's list of all goroutines only grows; a copy that it left behind for a longer one stays readable.
  bool read_goroutines(std::uint64_t list, const Options& options, Hold& hold) {
    std::array<std::uint64_t, 2> slice{}, again{};
    for (int tries = 0; tries < 5; ++tries) {
      if (!read(list, std::as_writable_bytes(std::span{slice})) ||
          !read(list, std::as_writable_bytes(std::span{again})))
        break;
      if (slice == again) break;
    }
    if (slice != again || slice[1] == 0) {
      trouble_ = {Trouble::Kind::other, "the list of goroutines could not be read", {}, {}};
      return true;
    }
    std::vector<std::uint64_t> all(std::min<std::uint64_t>(slice[1], go::max_goroutines));
    if (slice[1] > all.size())
      note_ =
          "only the first " + std::to_string(all.size()) + " of " + std::to_string(slice[1]) + " goroutines were read";
    if (!read(slice[0], std::as_writable_bytes(std::span{all}))) {
      trouble_ = {Trouble::Kind::other, "the list of goroutines could not be read", {}, {}};
      return true;
    }
    std::size_t taken = 0;
    const std::size_t limit = stack_limit(options);
    for (const std::uint64_t g : all) {
      if ((copies_.size() & 255) == 0 && hold.cancelled()) return false;
      Copy copy;
      if (!copy_goroutine(g, copy, limit)) continue;
      taken += copy.stack.size();
      if (taken > max_stacks) {
        note_ = "only the first " + std::to_string(copies_.size()) + " goroutines were read: their stacks are large";
        break;
      }
      if (const std::uint64_t m = copy.word(m_at); m != 0 && !machines_.contains(m)) {
        std::array<std::byte, m_bytes> bytes{};
        if (read(m, bytes)) machines_.emplace(m, bytes);
      }
      copies_.push_back(std::move(copy));
    }
    return true;
  }

  // Nobody is stopped: a goroutine that lies still shows the same registers before and behind.
  bool copy_goroutine(std::uint64_t g, Copy& copy, std::size_t limit) const {
    for (int tries = 0; tries < 3; ++tries) {
      if (!read(g, copy.g)) return false;
      const std::uint64_t lo = copy.word(lo_at), hi = copy.word(hi_at);
      if (lo == 0 || hi <= lo || hi - lo > (std::uint64_t{1} << 31)) return false;
      const auto inside = [&](std::uint64_t sp) { return sp >= lo && sp < hi; };
      const std::uint64_t sp = copy.word(sp_at), syscall_sp = copy.word(syscall_sp_at);
      copy.stack_start = hi;
      if (inside(sp)) copy.stack_start = sp;
      if (inside(syscall_sp)) copy.stack_start = std::min(copy.stack_start, syscall_sp);
      copy.stack.resize(std::min<std::uint64_t>(hi - copy.stack_start, limit));
      copy.stack.resize(read_memory(living_, copy.stack_start, std::as_writable_bytes(std::span{copy.stack})));
      std::array<std::byte, head_bytes> behind{};
      if (!read(g, behind)) return false;
      copy.moved = !std::equal(behind.begin(), behind.end(), copy.g.begin());
      if (!copy.moved) return true;
    }
    return true;
  }

  // The registers of goroutines that run are in their threads alone.
  bool copy_running_threads(const Options& options, Hold& hold) {
    running_.memory = std::make_shared<StackMemory>();
    running_.native = true;
    running_.mappings = mappings_;
    Outcome outcome = Outcome::complete;
    std::exception_ptr bug;
    std::thread([&] {
      try {
        outcome = copy_running(process_, options, hold, running_);
      } catch (...) {
        bug = std::current_exception();
      }
    }).join();
    if (bug) std::rethrow_exception(bug);
    return outcome != Outcome::cancelled;
  }

  const Process& process_;
  pid_t living_;
  const std::vector<Mapping>& mappings_;
  UniqueFd program_;
  go::ElfFile file_;
  std::uint64_t bias_;
  std::string version_;
  std::vector<std::optional<go::Found>> symbols_;
  go::PprofText told_;
  std::optional<Trouble> trouble_;
  std::string note_;
  std::vector<Copy> copies_;
  std::map<std::uint64_t, std::array<std::byte, m_bytes>> machines_;
  std::vector<std::string> reasons_;
  KernelThreads kernel_;
  ProcessCopy running_;  // those of its threads that ran
};

// Makes stacks of the copies.
class Digester {
 public:
  Digester(const go::Table& table, std::uint64_t bias, const Options& options, RuntimeStacks& stacks)
      : table_(table), wrapper_(table.kind_of_wrappers()), bias_(bias), options_(options), stacks_(stacks) {}

  // The name of the function that stands outermost, for goroutines whose start is not known otherwise.
  std::string outermost;

  void unwind(std::uint64_t pc, std::uint64_t sp, bool exact, std::uint64_t start, std::span<const std::byte> stack,
              RuntimeThread& thread) {
    std::vector<std::uint32_t> all;
    outermost.clear();
    for (bool first = true; all.size() < 65'536; first = false) {
      const std::uint64_t address = pc - bias_, lookup = first && exact ? address : address - 1;
      const auto function = table_.find(lookup);
      if (!function) {
        if (pc != 0) thread.error = "it goes on in code that is not Go's";
        break;
      }
      if (function->name == "runtime.goexit" || function->name == "runtime.mstart") break;
      if (!is_wrapper(*function)) outermost = function->name;
      const std::vector<std::uint32_t>& here = frames(*function, pc, lookup);
      all.insert(all.end(), here.begin(), here.end());
      const auto size = table_.frame_size(*function, address);
      if (!size || *size < 0) break;
#if defined(__x86_64__)
      const std::uint64_t end = sp + static_cast<std::uint64_t>(*size) + 8, back = end - 8;
#else
      const std::uint64_t end = sp + static_cast<std::uint64_t>(*size), back = sp;
#endif
      if (back < start || back - start + 8 > stack.size() || end <= sp) {
        thread.truncated = true;
        break;
      }
      pc = word_at(stack, back - start);
      sp = end;
    }
    for (const std::uint32_t index : all)
      if (!go::is_hidden(stacks_.frames[index].function)) thread.frames.push_back(index);
    if (thread.frames.empty()) thread.frames = std::move(all);
    if (thread.frames.size() > options_.max_frames) {
      thread.frames.resize(options_.max_frames);
      thread.truncated = true;
    }
  }

  // The function that a goroutine was started with: of `go shop.serve(7)` the compiler makes a function that passes the
  // argument on, which then is not shown but by its callee.
  std::string start_of(std::uint64_t pc, const RuntimeThread& thread) const {
    const auto function = pc ? table_.find(pc - bias_) : std::nullopt;
    const bool whole = !outermost.empty() && !thread.truncated && thread.error.empty();
    if (!function || (is_wrapper(*function) && whole)) return outermost;
    return std::string(function->name);
  }

  std::string name_of(std::uint64_t pc) const {
    const auto function = pc ? table_.find(pc - bias_) : std::nullopt;
    return function ? std::string(function->name) : std::string{};
  }

 private:
  // Of one address, innermost first: functions that were inlined have frames of their own.
  const std::vector<std::uint32_t>& frames(const go::Function& function, std::uint64_t pc, std::uint64_t lookup) {
    const auto [known, fresh] = known_.try_emplace(lookup);
    if (!fresh) return known->second;
    for (const go::Place& place : table_.places(function, lookup)) {
      if (wrapper_ != 0 && place.kind == wrapper_) continue;
      known->second.push_back(static_cast<std::uint32_t>(stacks_.frames.size()));
      Frame& frame = stacks_.frames.emplace_back();
      frame.function = place.function;
      frame.file = place.line.file;
      frame.line = place.line.line;
      frame.inlined = place.inlined;
      frame.offset = pc - bias_;
      frame.kind = "go";
    }
    return known->second;
  }

  bool is_wrapper(const go::Function& function) const { return wrapper_ != 0 && table_.kind_of(function) == wrapper_; }

  const go::Table& table_;
  std::uint8_t wrapper_;
  std::uint64_t bias_;
  const Options& options_;
  RuntimeStacks& stacks_;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> known_;
};

// runtime2.go, _Gidle … _Gpreempted; bit 12 says that the collector looks at it.
enum Status : std::uint32_t {
  idle,
  runnable,
  running,
  in_syscall,
  waiting,
  moribund,
  dead,
  unused,
  copying,
  preempted
};
constexpr std::uint32_t status_mask = 0xfff;

std::string state_of(std::uint32_t status, unsigned reason, const std::vector<std::string>& reasons) {
  switch (status) {
    case runnable: return "runnable";
    case running: return "running";
    case in_syscall: return "syscall";
    case waiting: return reason < reasons.size() && !reasons[reason].empty() ? reasons[reason] : "waiting";
    case copying: return "copystack";
    case preempted: return "preempted";
    default: return "status " + std::to_string(status);
  }
}

// What the program told of itself.
RuntimeStacks GoReader::digest_text(const Options& options) {
  RuntimeStacks stacks;
  stacks.runtime = runtime();
  stacks.paused = told_.held;
  const bool read = told_.groups ? go::parse_goroutine_groups(told_.text, options.max_frames, stacks)
                                 : go::parse_goroutines(told_.text, options.max_frames, stacks);
  std::uint64_t count = 0;
  for (const RuntimeThread& thread : stacks.threads) count += thread.count;
  if (!read || stacks.threads.empty())
    stacks.note = "no goroutine could be made out in the program's text, which is in goroutines.txt";
  else if (told_.cut)
    stacks.note = "the program's text ended at " + std::to_string(go::max_pprof_text >> 20) + " MiB";
  else if (stacks.threads.size() >= go::max_goroutines)
    stacks.note = "only the first " + std::to_string(go::max_goroutines) + " goroutines are shown";
  add_text(stacks, "goroutines_from", told_.address);
  stacks.members.emplace_back("goroutines", std::to_string(count));
  stacks.artifacts.push_back({"goroutines.txt", "text/plain", std::move(told_.text)});
  return stacks;
}

RuntimeStacks GoReader::digest(const Options& options, Hold& hold) {
  if (!told_.text.empty()) return digest_text(options);
  RuntimeStacks stacks;
  stacks.runtime = runtime();
  stacks.note = note_;
  if (trouble_ || copies_.empty()) {
    stacks.trouble =
        trouble_ ? trouble_ : Trouble{Trouble::Kind::other, "it has no goroutines that can be read", {}, {}};
    return stacks;
  }
  const auto table = go::Table::of(file_);
  const auto layout = table ? go::layout_of(program_.get(), version_) : std::nullopt;
  if (!layout) {
    stacks.trouble =
        Trouble{Trouble::Kind::other,
                table ? "the layout of goroutines in " + runtime() + " is not known without debug information"
                      : "its table of functions is of a version that is not known",
                {},
                table ? "build the program with debug information (without -ldflags=-w)" : ""};
    return stacks;
  }
  stacks.paused = Micros{0};
  std::unordered_map<pid_t, const ThreadCopy*> on_cpu;
  for (const ThreadCopy& thread : running_.threads) {
    stacks.paused = std::max(stacks.paused, thread.held);
    if (thread.registers) on_cpu.emplace(thread.tid, &thread);
  }
  Digester digester{*table, bias_, options, stacks};
  std::size_t of_the_runtime = 0;
  for (const Copy& copy : copies_) {
    if (hold.cancelled()) break;
    const auto status = static_cast<std::uint32_t>(copy.word(layout->status)) & status_mask;
    if (status == dead || status == idle || status == moribund) continue;
    RuntimeThread thread;
    thread.id = "goroutine " + std::to_string(copy.word(layout->id));
    thread.state = state_of(status, static_cast<unsigned>(copy.word(layout->wait_reason) & 0xff), reasons_);
    thread.running = status == running;
    if (const auto m = machines_.find(copy.word(m_at));
        m != machines_.end() && (status == running || status == in_syscall))
      if (const auto tid = kernel_.find(static_cast<pid_t>(word_at(m->second, layout->thread))); tid != kernel_.end())
        thread.tid = tid->second.tid;

    const std::span<const std::byte> stack = std::as_bytes(std::span{copy.stack});
    if (status == running) {
      const auto found = on_cpu.find(thread.tid);
      const ThreadCopy* const cpu = found == on_cpu.end() ? nullptr : found->second;
      const std::uint64_t sp = cpu ? cpu->registers->sp() : 0;
      if (cpu && sp >= copy.word(lo_at) && sp < copy.word(hi_at))
        digester.unwind(cpu->registers->pc(), sp, true, cpu->stack_start, cpu->stack, thread);
      else if (cpu && copy.word(sp_at) != 0)  // its thread does work of the runtime for it, on another stack
        digester.unwind(copy.word(pc_at), copy.word(sp_at), false, copy.stack_start, stack, thread);
      else
        thread.error = options.pause == Pause::none ? "it runs, and nobody was stopped" : "it ran, and had moved on";
    } else if (copy.moved) {
      thread.error = "it ran whenever it was copied";
    } else if (status == in_syscall && copy.word(syscall_sp_at) != 0) {
      digester.unwind(copy.word(syscall_pc_at), copy.word(syscall_sp_at), false, copy.stack_start, stack, thread);
    } else {
      digester.unwind(copy.word(pc_at), copy.word(sp_at), false, copy.stack_start, stack, thread);
    }
    const std::string start = digester.start_of(layout->start ? copy.word(layout->start) : 0, thread);
    if (start.starts_with("runtime.") && start != "runtime.main") {
      ++of_the_runtime;
      continue;
    }
    thread.name = start == "runtime.main" ? "main.main" : start;
    if (layout->locked && copy.word(layout->locked) != 0) {
      thread.members.emplace_back("locked_to_thread", "true");
      thread.remark = "locked to thread";
    }
    // The first one the runtime made as it started.
    const bool first = copy.word(layout->id) == 1;
    if (const std::string by = layout->created_by ? digester.name_of(copy.word(layout->created_by)) : "";
        !by.empty() && !first) {
      std::string text;
      hatch::append_quoted(text, by);
      thread.members.emplace_back("created_by", std::move(text));
    }
    stacks.threads.push_back(std::move(thread));
  }
  add_text(stacks, "goroutines_from", "memory");
  if (!told_.why.empty()) add_text(stacks, "no_profiles", told_.why);
  stacks.members.emplace_back("goroutines", std::to_string(stacks.threads.size()));
  stacks.members.emplace_back("goroutines_of_the_runtime", std::to_string(of_the_runtime));
  return stacks;
}

}  // namespace

std::unique_ptr<RuntimeReader> detect_go(const Subject& subject) {
  UniqueFd program{::openat(subject.process.proc_fd, "exe", O_RDONLY | O_CLOEXEC)};
  if (!program) return nullptr;
  struct stat info {};
  if (::fstat(program.get(), &info) != 0 || !S_ISREG(info.st_mode)) return nullptr;
  auto file = go::ElfFile::open(program.get());
  // Not all have the build information that tells the version.
  if (!file || (!file->section(".go.buildinfo") && !go::Table::section_of(*file))) return nullptr;
  for (const Module& module : subject.modules) {
    struct stat mapped {};
    if (!module.file || ::fstat(module.file.get(), &mapped) != 0) continue;
    if (mapped.st_ino == info.st_ino && mapped.st_dev == info.st_dev)
      return std::make_unique<GoReader>(subject, std::move(program), std::move(*file), module.low);
  }
  return nullptr;
}

}  // namespace stack
