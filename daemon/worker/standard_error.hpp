// What a run, or what it starts, writes to its standard error or output, on its way to hatchd's log. A library that
// complains belongs there; a run that floods must not fill the disk that the log is on: so it has a bound, in all and for
// each second, and that something was left out is said once.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/fd.hpp"

namespace hatchd::worker {

class StandardError {
 public:
  static constexpr std::size_t max_bytes = 64 * 1024, max_bytes_a_second = 16 * 1024;
  static constexpr std::size_t line_cost = 128;  // what the log puts around a line, which counts as well
  static constexpr std::size_t max_line = 1024;  // the rest of a longer one is left out

  // A new pipe: the end to write to, for the run. Empty when no descriptor is left.
  UniqueFd open();
  int fd() const { return reader_.get(); }  // -1: nothing will come any more

  // Takes what is there, never waits, and a bounded amount at once.
  void read(const std::string& run);
  // The run's end: what is there still, and the begin of a line.
  void finish(const std::string& run);

 private:
  static constexpr std::size_t piece = 16 * 1024;

  void take(const std::string& run, std::string_view text);
  void tell(const std::string& run);

  UniqueFd reader_;
  std::string line_;     // whose end has not come
  bool longer_ = false;  // it is, than what is kept of it
  std::size_t told_ = 0, told_this_second_ = 0;
  SteadyTime second_{};
  bool cut_ = false;
};

}  // namespace hatchd::worker
