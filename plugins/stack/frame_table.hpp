// Frames that came as text, each distinct one once.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "stack/model.hpp"

namespace stack {

class FrameTable {
 public:
  // Its index in `frames`; two are the same where function, file, line and whether it was inlined are.
  std::uint32_t add(Frame frame);
  std::vector<Frame> frames;

 private:
  std::unordered_map<std::string, std::uint32_t> known_;
};

}  // namespace stack
