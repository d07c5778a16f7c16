// Names of code that was made while the program ran, from the file that runtimes write for perf(1) when asked to:
// /tmp/perf-PID.map (node --perf-basic-prof, java -XX:+DumpPerfMapAtExit, DOTNET_PerfMapEnabled, PYTHONPERFSUPPORT).
//   https://github.com/torvalds/linux/blob/master/tools/perf/Documentation/jit-interface.txt
#pragma once

#include "stack/model.hpp"

namespace stack {

// The text of the process's map; empty when there is none, or one that is not its own: the folder is everybody's. Needs
// rights on the process.
std::string read_perf_map(const Process& process);

class PerfMap {
 public:
  // The text is hostile, and must outlive the map.
  explicit PerfMap(std::string_view text);
  // The name of the code at `address`; empty: none.
  std::string_view find(std::uint64_t address) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::uint64_t start, end;
    std::string_view name;
  };
  std::vector<Entry> entries_;  // ascending; of those that begin at one place the last written
};

}  // namespace stack
