// stack.dump: what every thread of a target is doing.
//
// The hatch is thin: gather() copies with rights, drop_rights() ends them, digest() makes names of the copies, and
// render makes the answer. Each of the three can be tried without a host.
#include <malloc.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdlib>

#include "hatch/hatch.hpp"
#include "stack/configuration.hpp"
#include "stack/digest.hpp"
#include "stack/gather.hpp"
#include "stack/refusal.hpp"
#include "stack/render.hpp"
#include "stack/signal.hpp"

namespace {

using stack::Clock;
using stack::Micros;

// The host's fences. The tracing thread may call begin() and end() alone, so the rest is fetched beforehand.
class HostHold final : public stack::Hold {
 public:
  explicit HostHold(hatch::Run& run) : run_(run), cancel_fd_(run.cancel_fd()), max_pause_(run.max_pause()) {}
  void begin() override { run_.pause_begin(); }
  void end() override { run_.pause_end(); }
  // Asked for each thread, three times on its way: the kernel is asked once in a millisecond.
  bool cancelled() override {
    const auto now = Clock::now();
    if (cancelled_ || now < look_) return cancelled_;
    look_ = now + std::chrono::milliseconds{1};
    pollfd cancel{cancel_fd_, POLLIN, 0};
    return cancelled_ = ::poll(&cancel, 1, 0) > 0;
  }
  Micros max_pause() const override { return max_pause_; }
  std::chrono::milliseconds remaining() const override { return run_.remaining(); }
  bool drop_rights() override {
    run_.drop_rights();
    return true;
  }

 private:
  hatch::Run& run_;
  int cancel_fd_;
  Micros max_pause_;
  Clock::time_point look_{};
  bool cancelled_ = false;
};

// An answer of some megabytes is copied a few times on its way, and new memory takes longer than what is written to it: by
// far on machines where a page fault is dear (a virtual one: 20 us). So what one copy was in serves the next, all threads
// share it, and the kernel brings it by huge pages where it has them. What is not touched costs nothing.
void prepare_heap() {
  constexpr std::size_t size = std::size_t{32} << 20, huge = std::size_t{2} << 20;
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_ARENA_MAX, 1);
  void* const room = ::malloc(size);
  if (!room) return;
  const std::size_t skipped = huge - reinterpret_cast<std::uintptr_t>(room) % huge;
  ::madvise(static_cast<char*>(room) + skipped, size - huge, MADV_HUGEPAGE);
  ::free(room);
}

std::vector<stack::Process> processes_of(const hatch::Run& run) {
  std::vector<stack::Process> all;
  for (const hatch_process& process : run.processes()) all.push_back({process.pid, process.pidfd, process.proc_fd});
  if (all.empty()) throw hatch::Failure("the target has no process");
  return all;
}

struct Dump {
  static constexpr hatch::About about{
      .id = "stack.dump",
      .title = "Show what every thread is doing",
      .documentation =
          "Reads the stacks of all threads of the target from outside; the target needs no preparation and takes no "
          "part, so it works when the "
          "app hangs. What runs in each process is found out: for a runtime that is known, the stacks are those that "
          "its developers read.\n\n"
          "Native stacks: by default a thread that sleeps in a system call is read where it lies, without being "
          "stopped; one that runs, or whose stack cannot be followed without its registers, is stopped by itself, for "
          "the microseconds that copying its stack takes. Names are looked up afterwards. "
          "pause=all stops all threads at once for one consistent picture, pause=none stops nobody and reads only "
          "threads that sleep in the "
          "kernel.\n\n"
          "A stop can make some system calls of the target return EINTR: epoll_wait, sigwaitinfo, sigtimedwait, semop, "
          "and socket calls with a "
          "receive or send timeout. Only pause=all and interrupt=true do that.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::required,
      .timeout = std::chrono::seconds{30},
      .max_pause = std::chrono::milliseconds{250},
      .capabilities = {"sys_ptrace", "dac_read_search", "checkpoint_restore", "kill", "setuid", "setgid"},
      .renderings = {"folded"},
      .artifact_types = {"text/plain"},
  };

  std::string mode = "auto", pause = "least";
  bool lines = false, act = false, group = false, interrupt = false;
  int max_frames = 256;

  void params(auto& p) {
    p.optional("mode", mode,
               "Whose stacks: auto finds out what runs in each process and falls back to native, the C, C++ or Rust "
               "view; python, jvm, node, go ask for that runtime's and fail where it is another; all: the runtime's "
               "and the native ones together")
        .one_of({"auto", "native", "python", "jvm", "node", "go", "all"});
    p.optional("act", act,
               "Also what leaves a trace in the target: the signals that make a JVM open its attach socket and "
               "Node.js its inspector")
        .effect(hatch::Effect::act);
    p.optional("group", group, "Equal stacks of a process once, with the threads that show them");
    p.optional(
         "pause", pause,
         "least: threads that sleep are read without a stop where that gives their whole stack, each other one is "
         "stopped alone, for as long as its copy takes; all: all at once, one consistent picture, for which a Go "
         "program "
         "is asked where it serves net/http/pprof; "
         "none: nobody is stopped, and "
         "running threads are not read")
        .one_of({"least", "all", "none"});
    p.optional("interrupt", interrupt,
               "With pause=least: also stop threads in calls that a stop ends with EINTR (epoll_wait, sigtimedwait, "
               "semop, ...), where their stacks are not whole without");
    p.optional("lines", lines, "Also file, line and inlined functions, where there is debug information; takes longer");
    p.optional("max_frames", max_frames, "How many frames of one thread at most").range(1, 65536);
  }

  hatch::Result run(hatch::Run& run) {
    prepare_heap();
    const stack::Options options = options_of(run);
    HostHold hold{run};
    const auto begin = Clock::now();
    stack::Gathered gathered = stack::gather(processes_of(run), options, hold);
    const double gather_ms = stack::ms_since(begin);
    if (gathered.cancelled) throw hatch::Cancelled{};

    run.drop_rights();
    run.progress(0.5, "copied; looking up names");
    const stack::Digest digest = stack::digest(gathered, options, hold);
    if (digest.cancelled) throw hatch::Cancelled{};
    for (stack::ProcessCopy& process : gathered.processes) process.memory.reset();  // stacks are names by now

    const auto rendering = Clock::now();
    const std::deque<stack::ShownProcess> shown = stack::merge(gathered, digest);
    refuse_if_nothing_was_read(shown);
    keep_artifacts(run, shown);
    stack::Answer answer = stack::render_answer(shown, options);
    hatch::Result result{answer.verdict};
    if (answer.partial) result.partial();
    result.add("runtime", answer.runtime).add("mode", answer.mode).add("paused_us", answer.paused.count());
    // The last two members in one piece: what comes behind megabytes would have them copied once more.
    const std::string last = std::move(answer.threads) + ",\"modules\":" + answer.modules;
    result.add("processes", hatch::Raw{answer.processes}).add("threads", hatch::Raw{last});
    if (run.format() == "folded")
      result.rendering("folded", stack::render_folded(shown));
    else
      result.text(stack::render_text(shown, answer, options));
    result.step("gather", gather_ms, true, std::to_string(answer.read) + " stacks copied");
    if (digest.runtime_ms > 0) result.step("runtime", digest.runtime_ms, true, answer.runtime);
    result.step("unwind", digest.unwind_ms, true);
    result.step("symbols", digest.symbols_ms, true);
    result.step("render", stack::ms_since(rendering), true);
    return result;
  }

  // Would it work: is a living process there, and may it be looked into?
  hatch::Result preflight(hatch::Run& run) {
    const std::vector<stack::Process> processes = processes_of(run);
    for (const stack::Process& process : processes) {
      if (stack::has_ended(process.pidfd, process.proc_fd))
        throw hatch::Failure("process " + std::to_string(process.pid) + " has ended");
      const auto trouble =
          stack::foresee_refusal(process, pause == "none" ? stack::Refused::private_file : stack::Refused::tracing);
      if (trouble) throw hatch::Failure::rights(trouble->detail, trouble->missing, trouble->remedy);
    }
    std::string verdict = "The stacks of " + std::to_string(processes.size()) +
                          (processes.size() == 1 ? " process" : " processes") + " can be read";
    const stack::Options options = options_of(run);
    std::optional<stack::Trouble> first;
    std::size_t unreadable = 0;
    for (const stack::Process& process : processes) {
      std::string how;
      if (const auto trouble = stack::foresee(process, options, how)) {
        if (unreadable++ == 0) first = trouble;
        how = trouble->detail;
      }
      if (!how.empty()) verdict += "; process " + std::to_string(process.pid) + ": " + how;
    }
    if (unreadable == processes.size()) refuse(*first);
    return hatch::Result{verdict + "."};
  }

 private:
  stack::Options options_of(const hatch::Run& run) const {
    return {pause == "all"    ? stack::Pause::all
            : pause == "none" ? stack::Pause::none
                              : stack::Pause::least,
            lines,
            act,
            static_cast<unsigned>(max_frames),
            mode,
            group,
            interrupt,
            run.cache_fd(),
            stack::pprof_of(run.configuration(), run.target_name())};
  }

  // One process that answers makes an answer; none makes a refusal, and the first process says why.
  static void refuse_if_nothing_was_read(const std::deque<stack::ShownProcess>& shown) {
    const stack::Trouble* first = nullptr;
    for (const stack::ShownProcess& process : shown) {
      if (!process.trouble) return;
      if (!first || (first->kind == stack::Trouble::Kind::gone && process.trouble->kind != stack::Trouble::Kind::gone))
        first = &*process.trouble;
    }
    if (first) refuse(*first);
  }

  [[noreturn]] static void refuse(const stack::Trouble& trouble) {
    if (trouble.kind == stack::Trouble::Kind::rights)
      throw hatch::Failure::rights(trouble.detail, trouble.missing, trouble.remedy);
    hatch::Failure failure{trouble.detail};
    failure.remedy = trouble.remedy;
    throw failure;
  }

  // Texts that a runtime wrote itself. Of several processes each has its own, by pid.
  static void keep_artifacts(const hatch::Run& run, const std::deque<stack::ShownProcess>& shown) {
    for (const stack::ShownProcess& process : shown) {
      if (!process.stacks) continue;
      for (const stack::RuntimeArtifact& kept : process.stacks->artifacts) {
        const std::string prefix = shown.size() > 1 ? std::to_string(process.pid) + "-" : "";
        hatch::Artifact artifact = run.artifact(prefix + kept.name, kept.type);
        artifact.write(kept.content);
        artifact.commit();
      }
    }
  }
};

}  // namespace

HATCH_PLUGIN_CONFIGURED("stack", "1.0.0", "Stacks of every thread, from outside", stack::configuration_schema, nullptr,
                        Dump, stack::Signal)
