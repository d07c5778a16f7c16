#include "stack/python/layout.hpp"

#include <algorithm>

namespace stack::python {
namespace {

// From the headers of the releases: Include/internal/pycore_runtime.h, pycore_interp.h, pycore_pystate.h (3.8),
// pycore_gil.h, pycore_frame.h; Include/cpython/pystate.h, code.h, frameobject.h, unicodeobject.h.
Layout objects_3_8() {
  Layout l;
  l.version = version_of(3, 8);
  l.interpreters_head = 32;
  l.interp_id = 16;
  l.interp_threads = 8;
  l.interp_modules = 56;
  l.gil = 1168 - gil_locked;
  l.thread_id = 176;
  l.thread_frame = 24;
  l.frame_previous = 24;
  l.frame_code = 32;
  l.frame_instruction = 104;
  l.frame_stack_top = 72;
  l.frame_locals = 64;  // f_valuestack: an address
  l.code_filename = 104;
  l.code_name = 112;
  l.code_first_line = 40;
  l.code_lines = 120;
  return l;
}

Layout objects_3_9() {
  Layout l = objects_3_8();
  l.version = version_of(3, 9);
  l.interp_id = 24;
  l.interp_modules = 856;
  l.gil = 368 - gil_locked;
  return l;
}

Layout objects_3_10() {
  Layout l = objects_3_9();
  l.version = version_of(3, 10);
  l.frame_instruction = 96;
  l.frame_stack_top = 80;  // f_stackdepth: an index
  l.lines = Lines::linetable;
  return l;
}

Layout frames_3_11() {
  Layout l;
  l.version = version_of(3, 11);
  l.interpreters_head = 40;
  l.interp_id = 48;
  l.interp_threads = 16;
  l.interp_modules = 888;
  l.gil = 376 - gil_locked;
  l.thread_id = 152;
  l.thread_native_id = 160;
  l.thread_frame = 56;
  l.cframe_current = 8;
  l.thread_chunk = 296;
  l.frames = Frames::cframe;
  l.frame_previous = 48;
  l.frame_code = 32;
  l.frame_instruction = 56;
  l.frame_owner = 69;
  l.frame_entry = 68;
  l.frame_stack_top = 64;
  l.frame_locals = 72;
  l.code_filename = 112;
  l.code_name = 128;  // co_qualname
  l.code_first_line = 72;
  l.code_lines = 136;
  l.code_bytecode = 184;
  l.lines = Lines::locations;
  l.type_cached_keys = 872;
  l.generator_frame = 80;
  return l;
}

Layout frames_3_12() {
  Layout l = frames_3_11();
  l.version = version_of(3, 12);
  l.interp_id = 8;
  l.interp_threads = 72;
  l.interp_modules = 944;
  l.gil = 384;
  l.gil_per_interpreter = true;
  l.thread_id = 136;
  l.thread_native_id = 144;
  l.cframe_current = 0;
  l.thread_chunk = 232;
  l.frame_previous = 8;
  l.frame_code = 0;
  l.frame_owner = 70;
  l.frame_entry = 0;
  l.code_first_line = 68;
  l.code_bytecode = 192;
  l.text_ascii = 40;
  l.type_cached_keys = 880;
  l.generator_frame = 72;
  return l;
}

// The table of offsets is an array of 64-bit words behind a cookie. Which word is which differs by version.
struct Words {
  std::size_t count;
  unsigned interpreters_head, interp_id, interp_next, interp_threads, interp_modules, interp_gil;
  unsigned thread_next, thread_interp, thread_frame, thread_id, thread_native_id, thread_chunk;
  unsigned frame_previous, frame_code, frame_instruction, frame_locals, frame_owner;
  unsigned code_filename, code_qualname, code_lines, code_first_line, code_bytecode;
  unsigned object_type, type_name, type_flags, bytes_size, bytes_data, text_state, text_length, text_ascii;
  unsigned frame_stack_top, frame_tlbc, code_tlbc, generator_frame;  // 0: not in this table
};
constexpr Words words_3_13 = {.count = 73,
                              .interpreters_head = 5,
                              .interp_id = 7,
                              .interp_next = 8,
                              .interp_threads = 9,
                              .interp_modules = 11,
                              .interp_gil = 14,
                              .thread_next = 21,
                              .thread_interp = 22,
                              .thread_frame = 23,
                              .thread_id = 24,
                              .thread_native_id = 25,
                              .thread_chunk = 26,
                              .frame_previous = 29,
                              .frame_code = 30,
                              .frame_instruction = 31,
                              .frame_locals = 32,
                              .frame_owner = 33,
                              .code_filename = 35,
                              .code_qualname = 37,
                              .code_lines = 38,
                              .code_first_line = 39,
                              .code_bytecode = 43,
                              .object_type = 45,
                              .type_name = 47,
                              .type_flags = 49,
                              .bytes_size = 65,
                              .bytes_data = 66,
                              .text_state = 68,
                              .text_length = 69,
                              .text_ascii = 70,
                              .frame_stack_top = 0,
                              .frame_tlbc = 0,
                              .code_tlbc = 0,
                              .generator_frame = 0};
constexpr Words words_3_14 = {.count = 95,
                              .interpreters_head = 5,
                              .interp_id = 7,
                              .interp_next = 8,
                              .interp_threads = 9,
                              .interp_modules = 12,
                              .interp_gil = 15,
                              .thread_next = 24,
                              .thread_interp = 25,
                              .thread_frame = 26,
                              .thread_id = 27,
                              .thread_native_id = 28,
                              .thread_chunk = 29,
                              .frame_previous = 32,
                              .frame_code = 33,
                              .frame_instruction = 34,
                              .frame_locals = 35,
                              .frame_owner = 36,
                              .code_filename = 40,
                              .code_qualname = 42,
                              .code_lines = 43,
                              .code_first_line = 44,
                              .code_bytecode = 48,
                              .object_type = 51,
                              .type_name = 53,
                              .type_flags = 55,
                              .bytes_size = 75,
                              .bytes_data = 76,
                              .text_state = 78,
                              .text_length = 79,
                              .text_ascii = 80,
                              .frame_stack_top = 37,
                              .frame_tlbc = 38,
                              .code_tlbc = 49,
                              .generator_frame = 85};

constexpr std::size_t most_words = 95;
constexpr char cookie[] = "xdebugpy";

// Larger than any of the structures, so that a hostile table leads nowhere in particular.
constexpr std::uint64_t offset_limit = std::uint64_t{1} << 20;

}  // namespace

const Layout* known_layout(unsigned version) {
  static const std::array layouts = {objects_3_8(), objects_3_9(), objects_3_10(), frames_3_11(), frames_3_12()};
  const auto at = std::find_if(layouts.begin(), layouts.end(),
                               [version](const Layout& layout) { return layout.version == version; });
  return at == layouts.end() ? nullptr : &*at;
}

std::optional<Layout> read_layout(Memory& memory, Address runtime, unsigned version) {
  const bool is_3_13 = version == version_of(3, 13);
  if (!is_3_13 && version != version_of(3, 14)) return std::nullopt;
  const Words& words = is_3_13 ? words_3_13 : words_3_14;
  std::array<std::uint64_t, most_words> table{};
  const std::span used = std::span{table}.first(words.count);
  if (!memory.read(runtime, std::as_writable_bytes(used))) return std::nullopt;
  if (std::memcmp(table.data(), cookie, 8) != 0 || (table[1] >> 16) != version || table[2] > 1) return std::nullopt;
  if (std::any_of(used.begin() + 3, used.end(), [](std::uint64_t offset) { return offset >= offset_limit; }))
    return std::nullopt;
  const auto at = [&](unsigned word) { return static_cast<unsigned>(table[word]); };

  Layout l = frames_3_12();
  l.version = version;
  l.free_threaded = table[2] == 1;
  l.interpreters_head = at(words.interpreters_head);
  l.interp_id = at(words.interp_id);
  l.interp_next = at(words.interp_next);
  l.interp_threads = at(words.interp_threads);
  l.interp_modules = at(words.interp_modules);
  l.gil = at(words.interp_gil);
  l.thread_next = at(words.thread_next);
  l.thread_interp = at(words.thread_interp);
  l.thread_frame = at(words.thread_frame);
  l.thread_id = at(words.thread_id);
  l.thread_native_id = at(words.thread_native_id);
  l.thread_chunk = at(words.thread_chunk);
  l.frames = Frames::internal;
  l.frame_previous = at(words.frame_previous);
  l.frame_code = at(words.frame_code);
  l.frame_instruction = at(words.frame_instruction);
  l.frame_locals = at(words.frame_locals);
  l.frame_owner = at(words.frame_owner);
  l.code_filename = at(words.code_filename);
  l.code_name = at(words.code_qualname);
  l.code_lines = at(words.code_lines);
  l.code_first_line = at(words.code_first_line);
  l.code_bytecode = at(words.code_bytecode);
  l.object_type = at(words.object_type);
  l.type_name = at(words.type_name);
  l.type_flags = at(words.type_flags);
  l.bytes_size = at(words.bytes_size);
  l.bytes_data = at(words.bytes_data);
  l.text_state = at(words.text_state);
  l.text_length = at(words.text_length);
  l.text_ascii = at(words.text_ascii);
  if (words.frame_stack_top) l.frame_stack_top = at(words.frame_stack_top);
  if (words.generator_frame) l.generator_frame = at(words.generator_frame);
  if (l.free_threaded && words.frame_tlbc) {
    l.frame_tlbc = at(words.frame_tlbc);
    l.code_tlbc = at(words.code_tlbc);
  }
  return l;
}

}  // namespace stack::python
