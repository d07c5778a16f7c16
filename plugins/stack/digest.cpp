#include "stack/digest.hpp"

#include "stack/cache/learn.hpp"
#include "stack/runtime.hpp"
#include "stack/symbols.hpp"
#include "stack/unwind.hpp"

namespace stack {

namespace {

// Where a stack begins: the functions whose unwind rules say that nobody called them.
bool is_outermost(const Frame& frame) {
  if (frame.function.empty()) return true;  // it cannot be told; libdwfl is believed
  for (const char* name : {"_start", "clone", "clone3", "__clone", "__clone3"})
    if (frame.function == name) return true;
  return false;
}

// A thread that was not stopped shows its pc and stack pointer alone. Where the rules ask for another register libdwfl
// takes the frame for the last one, as it does at the true end.
void mark_cut_stacks(const ProcessCopy& process, const std::vector<RawStack>& raw, ProcessStacks& stacks) {
  for (std::size_t i = 0; i < stacks.threads.size(); ++i) {
    ThreadStack& thread = stacks.threads[i];
    const auto& registers = process.threads[i].registers;
    if (!registers || registers->complete || thread.truncated || thread.frames.empty()) continue;
    if (raw[i].outermost || is_outermost(stacks.frames[thread.frames.back()])) continue;
    thread.truncated = true;
    if (thread.error.empty()) thread.error = why_cut(process.threads[i]);
  }
}

}  // namespace

Digest digest(const Gathered& gathered, const Options& options, Hold& hold) {
  Digest digest;
  for (const ProcessCopy& process : gathered.processes) {
    ProcessStacks& stacks = digest.processes.emplace_back();
    stacks.threads.resize(process.threads.size());
    if (process.reader) {
      const auto begin = Clock::now();
      stacks.runtime = std::make_shared<RuntimeStacks>(process.reader->digest(options, hold));
      digest.runtime_ms += ms_since(begin);
      if (hold.cancelled()) return digest.cancelled = true, std::move(digest);
    }
    if (process.trouble || !process.native) continue;

    Unwinder unwinder{process};
    cache::Learner learner{unwinder, *process.tables};
    auto begin = Clock::now();
    std::vector<RawStack> raw(process.threads.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (hold.cancelled()) return digest.cancelled = true, std::move(digest);
      const ThreadCopy& thread = process.threads[i];
      if (!thread.registers) continue;
      if (thread.walked) {
        raw[i] = *thread.walked;
        continue;
      }
      cache::Walk walked = cache::walk_learning(*process.tables, learner, thread, options.max_frames);
      raw[i] =
          walked.end == cache::Walked::whole ? std::move(walked.stack) : unwinder.unwind(thread, options.max_frames);
    }
    digest.unwind_ms += ms_since(begin);

    begin = Clock::now();
    Symbols symbols{unwinder, *process.tables, learner, process.perf_map, options.lines};
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (hold.cancelled()) return digest.cancelled = true, std::move(digest);
      ThreadStack& thread = stacks.threads[i];
      thread.truncated = raw[i].truncated;
      thread.error = process.threads[i].error.empty() ? raw[i].error : process.threads[i].error;
      for (const Address address : raw[i].frames) {
        const std::span<const std::uint32_t> indices = symbols.resolve(address);
        thread.frames.insert(thread.frames.end(), indices.begin(), indices.end());
      }
      // Inlined functions are frames too.
      if (thread.frames.size() > options.max_frames) {
        thread.frames.resize(options.max_frames);
        thread.truncated = true;
      }
    }
    stacks.frames = symbols.take_frames();
    mark_cut_stacks(process, raw, stacks);
    process.tables->save();
    digest.symbols_ms += ms_since(begin);
  }
  return digest;
}

}  // namespace stack
