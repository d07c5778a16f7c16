// A file that only grows, in entries of a line each: length, checksum, text. What a power cut or a kill left half
// written at its end is recognized by them, and cut.
//
//   0000001b 7a3f09c2 state {"state":"running"}\n
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace hatchd::runs {

class Journal {
 public:
  static constexpr std::size_t max_entry = 256 * 1024;

  // `text` as an entry: to be written in one piece with others. Holds at most max_entry bytes.
  static std::string entry(std::string_view text);

  static std::size_t size_of_entry(std::size_t text);
  // The text of the entry at the begin of `bytes`, when it is whole.
  static std::optional<std::string_view> whole(std::string_view bytes);

  explicit Journal(UniqueFd file) : file_(std::move(file)) {}

  // The next entry's text; nullopt at the end of what is whole. Blocks on the disk; holds one entry and a piece.
  std::optional<std::string> next();
  // How much of the file has been read as whole entries.
  std::uint64_t good() const { return good_; }

 private:
  UniqueFd file_;
  std::string ahead_;  // read; what lies before at_ has been given out
  std::size_t at_ = 0;
  std::uint64_t good_ = 0;
  bool ended_ = false;
};

}  // namespace hatchd::runs
