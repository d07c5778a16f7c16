#include "stack/python/walk.hpp"

#include <algorithm>

#include "stack/threads.hpp"

namespace stack::python {
namespace {

constexpr std::size_t most_interpreters = 256;
constexpr std::size_t most_codes = 200'000;
constexpr int attempts = 5;  // for a thread that moves, for a list of threads that changes
constexpr std::size_t file_limit = 4096, name_limit = 1024, lines_limit = std::size_t{1} << 20;
constexpr std::size_t chunk_limit = 64 * 1024;

}  // namespace

std::optional<std::uint32_t> Codes::index_of(Address address) {
  if (const auto known = known_.find(address); known != known_.end()) return known->second;
  if (codes_.size() >= most_codes) return std::nullopt;
  const Layout& layout = objects_.layout();
  // What is no code object is not remembered: the target moves, and it may be one the next time.
  Copy copy;
  const std::size_t size =
      std::max({layout.code_lines, layout.code_name, layout.code_filename, layout.code_first_line}) + sizeof(Address);
  if (!objects_.is(address, "code") || !copy.take(objects_.memory(), address, size)) return std::nullopt;
  const Address file_at = copy.pointer(layout.code_filename);
  auto file = files_.find(file_at);
  if (file == files_.end()) {
    auto text = objects_.text(file_at, file_limit);
    if (!text) return std::nullopt;
    file = files_.emplace(file_at, std::move(*text)).first;
  }
  auto name = objects_.text(copy.pointer(layout.code_name), name_limit);
  if (!name) return std::nullopt;
  auto lines = objects_.bytes(copy.pointer(layout.code_lines), lines_limit);
  codes_.push_back(
      {file->second, std::move(*name), copy.at<std::int32_t>(layout.code_first_line), std::move(lines).value_or("")});
  const auto index = static_cast<std::uint32_t>(codes_.size() - 1);
  known_.emplace(address, index);
  return index;
}

bool Walk::run(Address runtime, const std::function<bool()>& stop) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  Address interpreter = memory.pointer(runtime + layout.interpreters_head).value_or(0);
  for (std::size_t n = 0; interpreter && n < most_interpreters; ++n) {
    PythonInterpreter found{interpreter, 0, 0};
    found.modules = memory.pointer(interpreter + layout.interp_modules).value_or(0);
    found.gil =
        layout.gil_per_interpreter ? memory.pointer(interpreter + layout.gil).value_or(0) : runtime + layout.gil;
    if (layout.free_threaded) found.gil = 0;
    interpreters.push_back(found);
    const std::int64_t id = memory.get<std::int64_t>(interpreter + layout.interp_id).value_or(-1);
    const std::size_t before = threads.size();
    List list = List::changed;
    for (int attempt = 0; attempt < attempts && list == List::changed; ++attempt) {
      threads.resize(before);
      list = walk_threads(found, id, stop);
    }
    if (list == List::stopped) return false;
    list_broken |= list == List::changed;
    interpreter = memory.pointer(interpreter + layout.interp_next).value_or(0);
  }
  return true;
}

Walk::List Walk::walk_threads(const PythonInterpreter& interpreter, std::int64_t id,
                              const std::function<bool()>& stop) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  const auto first = memory.pointer(interpreter.state + layout.interp_threads);
  if (!first) return List::changed;
  const std::size_t before = threads.size();
  for (Address state = *first; state;) {
    if (stop()) return List::stopped;
    if (threads.size() - before >= max_threads) return List::changed;
    Copy copy;
    // A thread that ends takes its state with it, and what lies there then is anything.
    if (!copy.take(memory, state, state_size()) || copy.pointer(layout.thread_interp) != interpreter.state)
      return List::changed;
    PythonThread& thread = threads.emplace_back();
    thread.state = state;
    thread.interpreter = id;
    thread.ident = copy.pointer(layout.thread_id);
    if (layout.thread_native_id) thread.native_id = static_cast<pid_t>(copy.at<std::uint64_t>(layout.thread_native_id));
    const Address next = copy.pointer(layout.thread_next);
    read_chain(copy, thread, interpreter.gil);
    state = next;
  }
  return List::whole;
}

// In `thread`, the frame that it stands in; before 3.11 and since 3.13 that is in its state itself.
Address Walk::current_frame(const Copy& thread, const Copy& cframe) const {
  const Layout& layout = objects_.layout();
  return layout.frames == Frames::cframe ? cframe.pointer(0) : thread.pointer(layout.thread_frame);
}

// What tells that frame besides the state.
Memory::Part Walk::cframe_of(const Copy& thread, Copy& cframe) const {
  const Layout& layout = objects_.layout();
  return cframe.part_of(thread.pointer(layout.thread_frame) + layout.cframe_current, sizeof(Address));
}

// `now`: its state, as just read. The gil is read last of all.
void Walk::read_chain(Copy& now, PythonThread& thread, Address gil_at) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  const bool by_cframe = layout.frames == Frames::cframe;
  bool have = false;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    if (attempt > 0 && !now.take(memory, thread.state, state_size())) break;
    // The stretch that the innermost frames lie in: previous, size, top, then frames (_PyStackChunk). It is used up to
    // what the state has behind its address (datastack_top).
    Copy cframe;
    chunk_ = {};
    std::vector<Memory::Part> parts;
    if (by_cframe) parts.push_back(cframe_of(now, cframe));
    if (layout.thread_chunk) {
      const Address chunk = now.pointer(layout.thread_chunk);
      const Address top = now.pointer(layout.thread_chunk + sizeof(Address));
      if (chunk && top > chunk) parts.push_back(chunk_.part_of(chunk, std::min<std::size_t>(top - chunk, chunk_limit)));
    }
    memory.read_all(parts);
    if (by_cframe) cframe.keep(parts.front());
    if (parts.size() > (by_cframe ? 1U : 0U)) chunk_.keep(parts.back());
    const Address innermost = current_frame(now, cframe);
    FrameChain found = chain(innermost);

    Copy after, cframe_after, gil;
    std::array<Memory::Part, 3> again = {after.part_of(thread.state, state_size()), {}, {}};
    std::size_t count = 1;
    if (by_cframe) again[count++] = cframe_of(now, cframe_after);
    if (gil_at) again[count++] = gil.part_of(gil_at, gil_locked + sizeof(int));
    memory.read_all(std::span{again}.first(count));
    const bool still = after.keep(again[0]) && after.pointer(layout.thread_frame) == now.pointer(layout.thread_frame) &&
                       (!by_cframe || cframe_after.keep(again[1])) && current_frame(after, cframe_after) == innermost;
    if (gil_at)
      thread.holds_gil =
          gil.keep(again[count - 1]) && gil.pointer(gil_holder) == thread.state && gil.at<int>(gil_locked) == 1;
    const bool better = !have || (thread.chain.broken && !found.broken) || (still && !found.broken);
    if (better) {
      thread.chain = std::move(found);
      thread.moved = !still;
      have = true;
    }
    if (still && !thread.chain.broken) break;
  }
  chunk_ = {};
}

FrameChain Walk::chain(Address frame) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  FrameChain chain;
  const std::size_t size = frame_size();
  std::uint32_t segment = 0;
  const auto end_segment = [&] {
    if (segment) chain.segments.push_back(segment);
    segment = 0;
  };
  // A chain that loops ends at the number of frames that are shown, or of shims in a row.
  unsigned shims = 0;
  while (frame) {
    Copy direct;
    const bool copied = chunk_.covers(frame, size);
    if (!copied && !direct.take(memory, frame, size)) {
      chain.broken = true;
      break;
    }
    if (copied) direct.take_part(chunk_, frame, size);
    const Address previous = direct.pointer(layout.frame_previous);
    const bool internal = layout.frames != Frames::objects;
    if (internal && layout.version >= version_of(3, 12) &&
        direct.at<std::uint8_t>(layout.frame_owner) >= layout.first_shim_owner) {
      // Each call of the loop has one at its outer end.
      end_segment();
      frame = previous;
      if (++shims > max_frames_ + 1) chain.broken = true;
      if (chain.broken) break;
      continue;
    }
    if (chain.frames.size() >= max_frames_) {
      chain.truncated = true;
      break;
    }
    if (!internal && !objects_.is(frame, "frame")) {
      chain.broken = true;
      break;
    }
    const auto code_frame = code_of(direct);
    if (!code_frame) {
      chain.broken = true;
      break;
    }
    chain.frames.push_back(*code_frame);
    ++segment;
    if (layout.version < version_of(3, 11) || (layout.frame_entry && direct.at<std::uint8_t>(layout.frame_entry)))
      end_segment();
    frame = previous;
  }
  end_segment();
  return chain;
}

std::size_t Walk::state_size() const {
  const Layout& layout = objects_.layout();
  // Behind the chunk is how far it is used.
  const unsigned top = layout.thread_chunk ? layout.thread_chunk + unsigned{sizeof(Address)} : 0;
  return std::max({layout.thread_id, layout.thread_native_id, top, layout.thread_frame, layout.thread_interp,
                   layout.thread_next}) +
         sizeof(Address);
}

std::size_t Walk::frame_size() const {
  const Layout& layout = objects_.layout();
  return std::max({layout.frame_previous, layout.frame_code, layout.frame_instruction, layout.frame_owner,
                   layout.frame_entry, layout.frame_tlbc}) +
         sizeof(Address);
}

std::optional<CodeFrame> Walk::frame(Address address) {
  Copy copy;
  if (!copy.take(objects_.memory(), address, frame_size())) return std::nullopt;
  return code_of(copy);
}

std::optional<CodeFrame> Walk::code_of(const Copy& frame) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  Address code = frame.pointer(layout.frame_code);
  if (layout.frames == Frames::internal) code &= ~Address{7};  // tagged (3.14)
  const auto index = codes_.index_of(code);
  if (!index) return std::nullopt;
  std::int64_t instruction = 0;
  if (layout.frames == Frames::objects) {
    // f_lasti counts bytes up to 3.9, code units since.
    instruction = frame.at<std::int32_t>(layout.frame_instruction);
    if (layout.version >= version_of(3, 10)) instruction *= 2;
  } else {
    Address bytecode = code + layout.code_bytecode;
    if (layout.frame_tlbc) {
      // Free-threaded: each thread runs a copy of its own. _PyCodeArray is a size and pointers.
      const auto number = frame.at<std::int32_t>(layout.frame_tlbc);
      const auto array = memory.pointer(code + layout.code_tlbc);
      if (number > 0 && array && static_cast<std::uint64_t>(number) < memory.get<std::uint64_t>(*array).value_or(0))
        bytecode = memory.pointer(*array + 8 + static_cast<std::uint64_t>(number) * sizeof(Address)).value_or(bytecode);
    }
    instruction = static_cast<std::int64_t>(frame.pointer(layout.frame_instruction) - bytecode);
  }
  return CodeFrame{*index, instruction};
}

}  // namespace stack::python
