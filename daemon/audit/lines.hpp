// A file of lines that grows at its end and is rotated by size: NAME is written to, NAME.1 is the newest of the old ones,
// NAME.2 the one before, up to NAME.K. So there is a bound on all of it, whatever is written.
//
// What is appended is in the file whole or not at all, also after a power cut: a line that was being written is cut off at
// the next open. Somebody may move the file away (logrotate): the next append makes a new one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/problem.hpp"

namespace hatchd::audit {

struct Bounds {
  std::uint64_t bytes = 8 * 1024 * 1024;  // of one file
  unsigned keep = 8;                      // old files beside it
};

class Lines {
 public:
  // The descriptor stays the caller's.
  Lines(int directory, std::string name, Bounds bounds)
      : directory_(directory), name_(std::move(name)), bounds_(bounds) {}

  // `text` is whole lines. `durable`: on return it outlasts a power cut, and so does all before it.
  Result<void> append(std::string_view text, bool durable);
  Result<void> sync();
  // Opens or makes the file if that has not been done; append() does it as well.
  Result<void> open();
  // Bytes that were cut off so far, of lines that were not whole.
  std::uint64_t cut() const { return cut_; }

 private:
  Result<void> rotate();
  bool cut_torn_line(std::uint64_t size);

  int directory_;
  std::string name_;
  Bounds bounds_;
  UniqueFd file_;
  std::uint64_t size_ = 0, cut_ = 0;
};

// NAME, NAME.1, …: for whoever reads them.
std::string rotated_name(const std::string& name, unsigned number);

}  // namespace hatchd::audit
