// Asks a Go program for its goroutines through the endpoint of net/http/pprof, where it has one.
//
// What that does to the program: a request to its HTTP server. The index of the profiles costs it nothing; it says how
// many goroutines there are, and with that how long the next answer holds it. ?debug=2 stops all goroutines while the
// text is made; ?debug=1, which only counts how many stand where, stops them for a moment since Go 1.19.
#pragma once

#include <string>
#include <string_view>

#include "stack/go/elf_file.hpp"
#include "stack/model.hpp"

namespace stack::go {

struct PprofText {
  std::string text;     // hostile; empty: there is none
  std::string why;      // why there is none
  std::string address;  // where it was asked, "http://127.0.0.1:6060/debug/pprof/goroutine?debug=2"
  bool groups = false;  // the text of ?debug=1
  bool cut = false;     // at max_pprof_text
  Micros held{0};       // all goroutines, at most; 0: for a moment that is not known
};

// What is known of the program, and what its operator said.
struct PprofQuestion {
  const Process& process;
  pid_t living;
  const ElfFile& program;
  int minor = 0;           // of Go 1.x; 0: not known
  std::string_view named;  // "http://127.0.0.1:6060/debug/pprof": where it is; empty: among what the program listens on
  bool groups = false;     // ?debug=1 will do where ?debug=2 would hold the program for longer than the budget
};

// Where it would be asked, without asking: "127.0.0.1:6060, [::1]:8080". Empty: nowhere, and `why` says why.
std::string foresee_pprof(const PprofQuestion& question, std::string& why);

// False: cancelled.
bool ask_pprof(const PprofQuestion& question, Hold& hold, PprofText& answer);

// Whether the address is one that can be asked, as the configuration names it. Exposed for tests.
bool is_pprof_address(std::string_view address);

// How many goroutines the index of the profiles speaks of; nullopt: it is no such page. Exposed for tests.
std::optional<std::uint64_t> goroutines_of_index(std::string_view page);

}  // namespace stack::go
