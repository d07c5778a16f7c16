// The texts in which a Go program tells its goroutines, of net/http/pprof: with ?debug=2 each with its state, the format
// of a panic (src/runtime/traceback.go), with ?debug=1 how many stand at each place (src/runtime/pprof/pprof.go).
//
// The text is the target's and hostile. Read without rights.
#pragma once

#include <string_view>

#include "stack/runtime.hpp"

namespace stack::go {

constexpr std::size_t max_goroutines = 100'000;
constexpr std::size_t max_pprof_text = std::size_t{64} << 20;  // Go itself ends its text there

// What the runtime does inside says nothing, what it exports may: so it is in the runtime's own traces.
bool is_hidden(std::string_view function);

// Both add to `stacks` and leave out the goroutine that wrote the text. False: it is no such text.
bool parse_goroutines(std::string_view text, unsigned max_frames, RuntimeStacks& stacks);
bool parse_goroutine_groups(std::string_view text, unsigned max_frames, RuntimeStacks& stacks);

}  // namespace stack::go
