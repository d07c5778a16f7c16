// Where CPython keeps what a dump reads: byte offsets in its structures, by version.
//
// Minor versions differ, patch releases do not. Until 3.12 nothing in the process tells, so there is a table; since 3.13
// _PyRuntime begins with _Py_DebugOffsets (Include/internal/pycore_debug_offsets.h), which is read and checked.
// Offsets hold for 64-bit machines, x86-64 and aarch64 alike.
#pragma once

#include <array>

#include "stack/python/memory.hpp"

namespace stack::python {

constexpr unsigned version_of(unsigned major, unsigned minor) { return major << 8 | minor; }
constexpr unsigned oldest_version = version_of(3, 8), newest_version = version_of(3, 14);

enum class Frames {
  objects,   // 3.8 to 3.10: each frame is a PyFrameObject
  cframe,    // 3.11, 3.12: _PyInterpreterFrame, reached through the C frame of the evaluation loop
  internal,  // since 3.13: _PyInterpreterFrame, reached from the thread
};

enum class Lines {
  lnotab,     // to 3.9: pairs of bytecode and line increments (Objects/lnotab_notes.txt)
  linetable,  // 3.10: pairs, with ranges that have no line (PEP 626)
  locations,  // since 3.11: entries with columns (Objects/locations.md, InternalDocs/code_objects.md)
};

struct Layout {
  unsigned version = 0;  // version_of()
  bool free_threaded = false;

  unsigned interpreters_head = 0;                                                   // _PyRuntimeState
  unsigned interp_next = 0, interp_id = 0, interp_threads = 0, interp_modules = 0;  // PyInterpreterState
  // The GIL: in _PyRuntimeState up to 3.11, behind a pointer in PyInterpreterState since.
  unsigned gil = 0;
  bool gil_per_interpreter = false;

  unsigned thread_next = 8, thread_interp = 16, thread_id = 0;  // PyThreadState
  unsigned thread_native_id = 0;                                // 0: it has none
  unsigned thread_frame = 0;                                    // the frame, or the C frame that has it
  unsigned cframe_current = 0;
  unsigned thread_chunk = 0;  // datastack_chunk; 0: frames are objects

  Frames frames = Frames::objects;
  unsigned frame_previous = 0, frame_code = 0;
  unsigned frame_instruction = 0;  // f_lasti, prev_instr or instr_ptr
  unsigned frame_owner = 0;        // since 3.11
  unsigned frame_entry = 0;        // 3.11: is_entry, the outermost of one call of the loop
  unsigned frame_stack_top = 0;  // 3.11 to 3.13: stacktop, an index; 3.14: stackpointer, an address; else f_stacktop…
  unsigned frame_locals = 0;
  unsigned frame_tlbc = 0;  // free-threaded 3.14: index of the thread's copy of the bytecode

  unsigned code_filename = 0, code_name = 0, code_first_line = 0, code_lines = 0;  // PyCodeObject
  unsigned code_bytecode = 0;                                                      // co_code_adaptive, since 3.11
  unsigned code_tlbc = 0;
  Lines lines = Lines::lnotab;

  unsigned object_type = 8, type_name = 24, type_flags = 168;   // PyObject, PyTypeObject
  unsigned text_length = 16, text_state = 32, text_ascii = 48;  // PyASCIIObject and its size
  unsigned bytes_size = 16, bytes_data = 32;                    // PyBytesObject
  unsigned type_cached_keys = 0;                                // PyHeapTypeObject, since 3.11
  unsigned generator_frame = 16;                                // gi_frame, or gi_iframe in place

  // Shims that carry no Python code: owner CSTACK (3.12, 3.13), INTERPRETER and CSTACK (3.14).
  unsigned char first_shim_owner = 3;
};

// Offsets within the GIL (_gil_runtime_state) are the same in all of them.
constexpr unsigned gil_holder = 8, gil_locked = 16, gil_size = 208;

// Of 3.8 to 3.12; nullptr for others.
const Layout* known_layout(unsigned version);

// Of 3.13 and later, from the table at the beginning of _PyRuntime. Nothing: that is none, of an unknown version, or
// with offsets that cannot be.
std::optional<Layout> read_layout(Memory& memory, Address runtime, unsigned version);

}  // namespace stack::python
