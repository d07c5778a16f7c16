#include "stack/digest.hpp"

#include "stack/symbols.hpp"
#include "stack/unwind.hpp"

namespace stack {

Digest digest(const Gathered& gathered, const Options& options, Hold& hold) {
  Digest digest;
  for (const ProcessCopy& process : gathered.processes) {
    ProcessStacks& stacks = digest.processes.emplace_back();
    stacks.threads.resize(process.threads.size());
    if (process.trouble) continue;

    Unwinder unwinder{process};
    auto begin = Clock::now();
    std::vector<RawStack> raw(process.threads.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (hold.cancelled()) return digest.cancelled = true, std::move(digest);
      if (process.threads[i].registers) raw[i] = unwinder.unwind(process.threads[i], options.max_frames);
    }
    digest.unwind_ms += ms_since(begin);

    begin = Clock::now();
    Symbols symbols{unwinder, options.lines};
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
    digest.symbols_ms += ms_since(begin);
  }
  return digest;
}

}  // namespace stack
