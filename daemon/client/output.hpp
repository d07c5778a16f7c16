// What reaches the screen. Text is made printable whether or not it goes to a terminal, so that both show the same;
// JSON goes to a pipe byte for byte. Colour is for terminals, and not where NO_COLOR is set (no-color.org).
#pragma once

#include <string>
#include <string_view>

#include "base/problem.hpp"

namespace hatchd::client {

struct Screen {
  bool terminal = false;        // standard output
  bool error_terminal = false;  // standard error
  bool can_ask = false;         // somebody sits at standard input and sees standard error
  bool colour = true;
  bool able = false;  // the terminal, where there is one, can move its cursor

  bool bars() const { return error_terminal && able; }

  static Screen of_process();
};

// Answers that come in pieces: a character that is cut in two waits for its rest.
class Filter {
 public:
  explicit Filter(bool raw) : raw_(raw) {}
  std::string feed(std::string_view piece);
  std::string finish();

 private:
  bool raw_;
  std::string rest_;
};

// A whole answer, ending in a newline.
std::string shown(std::string_view text, bool raw);

// False: standard output does not take it (disk full, closed).
bool print(std::string_view text);
void complain(std::string_view text);

// The text of a problem, with commands in place of requests (speech.hpp), coloured on a terminal. `text` is printable.
void complain_of(std::string_view text, const Screen& screen);

// "refused (…)", "missing:", "remedy:" of a problem, coloured for a terminal. `text` is printable.
std::string painted(std::string_view text);

// A problem of the client's own: the same lines as the server's, ending in a newline.
std::string lines_of(const Problem& problem);

}  // namespace hatchd::client
