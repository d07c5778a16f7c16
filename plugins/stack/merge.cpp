#include "stack/merge.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace stack {
namespace {

std::string sentence(const Trouble& trouble) {
  return trouble.remedy.empty() ? trouble.detail : trouble.detail + " (" + trouble.remedy + ")";
}

void add_note(ShownProcess& process, const std::string& note) {
  if (note.empty()) return;
  if (!process.note.empty()) process.note += "; ";
  process.note += note;
}

void add_error(ShownThread& thread, const std::string& error) {
  if (error.empty()) return;
  if (!thread.error.empty()) thread.error += "; ";
  thread.error += error;
}

ShownThread show_native(const ThreadCopy& copy, const ThreadStack& stack) {
  ShownThread thread;
  thread.native = true;
  thread.tid = copy.tid;
  thread.name = copy.name;
  thread.state = copy.state;
  thread.running = copy.running;
  thread.waiting_on = copy.waiting_on;
  thread.truncated = stack.truncated;
  thread.error = stack.error;
  thread.read = copy.registers.has_value();
  thread.wants_stop = copy.registers && !copy.registers->complete && stack.truncated;
  thread.frames = stack.frames;
  return thread;
}

// What the runtime says of a thread, over what the kernel said of it.
void take_runtime(ShownThread& thread, const RuntimeThread& runtime) {
  thread.runtime = &runtime;
  if (runtime.tid) thread.tid = runtime.tid;
  thread.id = runtime.id;
  if (!runtime.name.empty()) thread.name = runtime.name;
  if (!runtime.state.empty()) {
    thread.state = runtime.state;
    thread.native = false;
  } else if (runtime.letter) {
    thread.state = runtime.letter;
    thread.native = true;
  }
  thread.running |= runtime.running;
  if (!runtime.waiting_on.empty()) thread.waiting_on = runtime.waiting_on;
  thread.truncated |= runtime.truncated;
  add_error(thread, runtime.error);
  thread.read |= !runtime.frames.empty() || runtime.error.empty();
}

ShownThread show_runtime(const RuntimeThread& runtime) {
  ShownThread thread;
  take_runtime(thread, runtime);
  thread.frames = runtime.frames;
  return thread;
}

bool is_loop(const Frame& frame, const std::string& loop) {
  if (loop.empty()) return !frame.in_module;
  // The compiler may have split it: "_PyEval_EvalFrameDefault.cold".
  return frame.function.starts_with(loop) &&
         (frame.function.size() == loop.size() || frame.function[loop.size()] == '.');
}

// Frames of both kinds in calling order: a call of the interpreter's loop gives way to the frames that it carries. Where
// it cannot be told which those are, all stand in the place of the innermost call.
std::vector<std::uint32_t> interleave(std::span<const std::uint32_t> native, const std::vector<Frame>& frames,
                                      const RuntimeThread& runtime, const std::string& loop, std::uint32_t base) {
  std::size_t calls = 0;
  for (const std::uint32_t frame : native) calls += is_loop(frames[frame], loop);
  const bool matched = !runtime.segments.empty() && runtime.segments.size() == calls;

  std::vector<std::uint32_t> both;
  both.reserve(native.size() + runtime.frames.size());
  std::size_t taken = 0;
  const auto take = [&](std::size_t count) {
    for (; count > 0 && taken < runtime.frames.size(); --count) both.push_back(base + runtime.frames[taken++]);
  };
  std::size_t call = 0;
  for (const std::uint32_t frame : native) {
    if (!is_loop(frames[frame], loop))
      both.push_back(frame);
    else
      take(matched ? runtime.segments[call++] : runtime.frames.size());
  }
  take(runtime.frames.size());
  return both;
}

// One entry a thread where the runtime knows the kernel's number of it.
void show_both(const ProcessCopy& copy, const ProcessStacks& stacks, ShownProcess& process) {
  const RuntimeStacks& runtime = *stacks.runtime;
  const auto base = static_cast<std::uint32_t>(stacks.frames.size());
  process.both_frames = stacks.frames;
  process.both_frames.insert(process.both_frames.end(), runtime.frames.begin(), runtime.frames.end());
  process.frames = process.both_frames;

  std::unordered_map<pid_t, const RuntimeThread*> by_tid;
  std::unordered_set<const RuntimeThread*> merged;
  for (const RuntimeThread& thread : runtime.threads)
    if (thread.tid) by_tid.try_emplace(thread.tid, &thread);
  for (std::size_t i = 0; i < stacks.threads.size(); ++i) {
    ShownThread& thread = process.threads.emplace_back(show_native(copy.threads[i], stacks.threads[i]));
    const auto known = by_tid.find(thread.tid);
    if (known == by_tid.end()) continue;
    take_runtime(thread, *known->second);
    thread.frames =
        process.merged.emplace_back(interleave(thread.frames, stacks.frames, *known->second, runtime.loop, base));
    merged.insert(known->second);
  }
  for (const RuntimeThread& entry : runtime.threads) {
    if (merged.contains(&entry)) continue;
    ShownThread& thread = process.threads.emplace_back(show_runtime(entry));
    std::vector<std::uint32_t>& frames = process.merged.emplace_back(entry.frames);
    for (std::uint32_t& frame : frames) frame += base;
    thread.frames = frames;
  }
}

void show(const ProcessCopy& copy, const ProcessStacks& stacks, ShownProcess& process) {
  process.pid = copy.pid;
  process.name = copy.name;
  process.copy = &copy;
  process.paused = copy.paused;
  process.runtime = process.mode = "native";
  add_note(process, copy.note);
  const RuntimeStacks* const runtime = stacks.runtime.get();
  const bool runtime_read = runtime && !runtime->trouble;
  const bool native_read = copy.native && !copy.trouble;
  if (runtime) {
    process.stacks = runtime;
    process.runtime = runtime->runtime;
    process.paused = std::max(process.paused, runtime->paused);
    add_note(process, runtime->note);
    if (runtime->trouble && native_read) add_note(process, sentence(*runtime->trouble) + "; native stacks instead");
  }
  if (runtime_read && copy.native && copy.trouble) add_note(process, "no native stacks: " + sentence(*copy.trouble));
  if (!native_read && !runtime_read) {
    process.trouble = copy.trouble ? copy.trouble : runtime ? runtime->trouble : std::nullopt;
    if (!process.trouble) process.trouble = Trouble{Trouble::Kind::other, "nothing could be read of it", {}, {}};
    return;
  }
  if (native_read && runtime_read) {
    process.mode = "all";
    return show_both(copy, stacks, process);
  }
  if (runtime_read) {
    process.mode = copy.reader->mode();
    process.frames = runtime->frames;
    for (const RuntimeThread& thread : runtime->threads) process.threads.push_back(show_runtime(thread));
    return;
  }
  process.frames = stacks.frames;
  for (std::size_t i = 0; i < copy.threads.size() && i < stacks.threads.size(); ++i)
    process.threads.push_back(show_native(copy.threads[i], stacks.threads[i]));
}

}  // namespace

std::deque<ShownProcess> merge(const Gathered& gathered, const Digest& digest) {
  std::deque<ShownProcess> all;
  for (std::size_t p = 0; p < gathered.processes.size() && p < digest.processes.size(); ++p)
    show(gathered.processes[p], digest.processes[p], all.emplace_back());
  return all;
}

std::vector<std::vector<std::size_t>> group_threads(const ShownProcess& process, bool group) {
  std::vector<std::vector<std::size_t>> groups;
  std::unordered_map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < process.threads.size(); ++i) {
    const ShownThread& thread = process.threads[i];
    std::size_t at = groups.size();
    if (group) {
      std::string key{reinterpret_cast<const char*>(thread.frames.data()), thread.frames.size_bytes()};
      key += thread.truncated ? '+' : '.';
      key += thread.error;
      at = known.try_emplace(std::move(key), at).first->second;
    }
    if (at == groups.size()) groups.emplace_back();
    groups[at].push_back(i);
  }
  return groups;
}

}  // namespace stack
