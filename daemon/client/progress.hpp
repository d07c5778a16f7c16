// The progress of a run on a terminal's last line. It stands on standard error, so that the answer on standard output
// can go elsewhere; nothing is drawn where standard error is no terminal.
#pragma once

#include <cstdint>
#include <string>

namespace hatchd::client {

// "[########............]  40 %  reading", at most `width` columns; a permyriad below 0 is not known.
std::string progress_line(std::int64_t permyriad, const std::string& note, std::size_t width);

class Progress {
 public:
  explicit Progress(bool on) : on_(on) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;

  void show(std::int64_t permyriad, const std::string& note);
  // Takes the line away, so that something else can be written.
  void clear();

 private:
  bool on_, drawn_ = false;
};

}  // namespace hatchd::client
