#include "stack/runtimes.hpp"

#include <array>

#include "stack/jvm/jvm.hpp"

namespace stack {
namespace {

// A line for each runtime, in the order in which they are asked.
constexpr std::array<DetectRuntime, 1> runtimes = {detect_jvm};

}  // namespace

std::unique_ptr<RuntimeReader> detect_runtime(const Subject& subject, std::string_view mode) {
  for (const DetectRuntime detect : runtimes) {
    auto reader = detect(subject);
    if (reader && (mode == "auto" || mode == "all" || mode == reader->mode())) return reader;
  }
  return nullptr;
}

}  // namespace stack
