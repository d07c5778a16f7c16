// What a target prints at a signal: where it goes, and what it says.
#pragma once

#include <sys/stat.h>

#include "stack/runtime.hpp"

namespace stack {

// Files that standard output, standard error or a log of the target are, from their present end on.
class Printed {
 public:
  // Why the descriptor `number` of the target can not be followed: "a pipe, which process 4711 (cat) reads"; empty: it
  // is a regular file, and is followed from now on.
  std::string follow(const Process& process, int number);
  // The same of a file that is open already; what is no regular file is left out.
  void follow(UniqueFd file);
  bool any() const { return !files_.empty(); }
  // What was written since, by the file that has most of it; at most `limit` bytes.
  std::string text(std::size_t limit) const;
  // The same in bytes, to see it grow.
  std::uint64_t size() const;
  // "/var/log/web.out", as the target sees it.
  std::string source() const;

 private:
  struct File {
    UniqueFd fd;
    std::uint64_t begin = 0;
    std::string path;
  };
  bool has(const struct stat& info) const;
  static std::uint64_t grown(const File& file);
  const File* fullest() const;
  std::vector<File> files_;
};

// Celery's cry handler prints local variables behind each stack: they hold secrets, and are left out.
std::string without_locals(std::string_view text);

// Python's faulthandler: "Thread 0x00007f… (most recent call first):" and frames. False: nothing of the kind.
bool parse_faulthandler(std::string_view text, unsigned max_frames, RuntimeStacks& stacks);

}  // namespace stack
