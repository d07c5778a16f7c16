// A log that is no file: what a program prints (the journal's, by journalctl), or what a server answers.
//
// A process of its own asks for it, since a run that reads what strangers wrote may start no program and open no socket.
// It is forked while the run may, gives up every capability, and waits until it is told to begin. It ends with the pipe
// to the run.
#pragma once

#include <string>
#include <vector>

#include "common/http.hpp"
#include "stack/procfs.hpp"

namespace common {

// One of the two.
struct Source {
  std::vector<std::string> argv;  // printed by this program; started again a second after it ended
  HttpRequest request;            // answered to this request, which is sent every second

  bool is_program() const { return !argv.empty(); }
};

class Remote {
 public:
  // Forks. Throws std::runtime_error when that is not possible.
  explicit Remote(const Source& source);

  void begin();                           // now ask
  int fd() const { return from_.get(); }  // readable when receive() has news; -1: nothing will come any more
  // Takes what came. True: the text has changed.
  bool receive();

  // What the program printed, of one that was started again since it was last started; the texts and numbers of what the server
  // answered last. The last 512 KiB.
  const std::string& text() const { return text_; }
  bool is_whole() const { return anew_; }               // the program has ended, the server's answer is all there
  std::size_t forgotten() const { return forgotten_; }  // bytes in front of text() that there was no room for
  // How often the program has ended, the server has said what it has: 2xx, or 404. Not counted is what failed otherwise.
  std::size_t answers() const { return answers_; }
  // What went wrong the last time that it was done with asking, a sentence; empty: nothing. A new try that is still under
  // way takes nothing back.
  const std::string& trouble() const { return trouble_; }

 private:
  bool take_frame();

  stack::UniqueFd go_, from_;
  std::string buffer_, text_, trouble_, trouble_of_round_;
  std::size_t answers_ = 0, forgotten_ = 0;
  bool anew_ = false;  // what comes next belongs to a new round
};

}  // namespace common
