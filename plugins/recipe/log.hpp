// The target's log, from where it ended when the run began.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "hatch/hatch.hpp"

namespace recipe {

class Log {
 public:
  // Opens the log that the configuration names for the target, at its end. Throws hatch::Failure with the remedy when
  // there is none.
  explicit Log(const hatch::Run& run);
  Log(const Log&) = delete;
  ~Log();

  // Waits, at most `limit`, for a line that holds `text`; the line, or nullopt. Throws hatch::Cancelled.
  std::optional<std::string> wait_for(const hatch::Run& run, std::string_view text, std::chrono::milliseconds limit);

 private:
  bool read_more();

  int fd_;
  std::string seen_;  // since the run began, the last max_seen bytes
};

}  // namespace recipe
