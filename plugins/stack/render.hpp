// The answer of stack.dump: the members of the result, the text for a terminal, folded stacks for flame graphs.
#pragma once

#include <string>

#include "stack/model.hpp"

namespace stack {

struct Answer {
  std::string verdict, runtime, mode;
  std::string processes, threads, modules;  // JSON arrays
  Micros paused{0};
  bool partial = false;
  std::size_t read = 0;  // threads with a stack
};
Answer render_answer(const Gathered& gathered, const Digest& digest, const Options& options);

// What names say is hostile: nothing in it moves a cursor.
std::string render_text(const Gathered& gathered, const Digest& digest, const Answer& answer);

// "process;thread;outermost;…;innermost count", one line for each distinct stack.
std::string render_folded(const Gathered& gathered, const Digest& digest);

}  // namespace stack
