#include "stack/frame_table.hpp"

#include <utility>

namespace stack {

std::uint32_t FrameTable::add(Frame frame) {
  std::string key = frame.function + '\0' + frame.file + '\0' + std::to_string(frame.line) + (frame.inlined ? "i" : "");
  const auto [at, fresh] = known_.try_emplace(std::move(key), static_cast<std::uint32_t>(frames.size()));
  if (fresh) frames.push_back(std::move(frame));
  return at->second;
}

}  // namespace stack
