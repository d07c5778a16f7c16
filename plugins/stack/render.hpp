// The answer of stack.dump: the members of the result, the text for a terminal, folded stacks for flame graphs.
#pragma once

#include <string>

#include "stack/merge.hpp"

namespace stack {

struct Answer {
  std::string verdict, runtime, mode;
  std::string processes, threads, modules;  // JSON arrays
  Micros paused{0};
  bool partial = false;
  std::size_t read = 0;  // threads with a stack
};
Answer render_answer(const std::deque<ShownProcess>& shown, const Options& options);

// What names say is hostile: nothing in it moves a cursor.
std::string render_text(const std::deque<ShownProcess>& shown, const Answer& answer, const Options& options);

// "process;thread;outermost;…;innermost count", one line for each distinct stack.
std::string render_folded(const std::deque<ShownProcess>& shown);

}  // namespace stack
