// Did an error arrive where errors are to arrive? Follows the files that the target logs into, from before the call on,
// until the mark of the call stands in one.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "hatch/hatch.hpp"
#include "stack/procfs.hpp"

namespace app {

struct Reported {
  std::string where;
  double after_ms = 0;
  std::string text;  // what was logged with the mark: the traceback, as far as it belongs to it
};

class Logs {
 public:
  // The target's log of the configuration (flag HATCH_TARGET_LOG), and the regular files that its processes have open
  // for writing as stdout, stderr or by a name with "log" in it. Needs the rights to look into the target.
  static Logs open(const hatch::Run& run);

  // Waits until the mark stands in one of them, or `limit` has passed; `begun` is when the call was made.
  std::vector<Reported> look(const hatch::Run& run, std::string_view mark, std::chrono::steady_clock::time_point begun,
                             std::chrono::milliseconds limit);

  std::vector<std::string> places() const;                          // where it looks
  const std::vector<std::string>& blind() const { return blind_; }  // where it cannot, and why

 private:
  struct File {
    std::string where;
    stack::UniqueFd fd;
    dev_t device = 0;
    ino_t inode = 0;
    off_t at = 0;
    std::string text;  // what was added, the last of it
    double found_ms = -1;
  };
  void add(std::string where, stack::UniqueFd fd);
  static bool grow(File& file);

  std::vector<File> files_;
  std::vector<std::string> blind_;
};

// The entry of a log in which the mark stands: back to the begin of its traceback and the line in front of that, on to
// the line of the mark and what is indented below it.
std::string entry_around(std::string_view text, std::string_view mark);

}  // namespace app
