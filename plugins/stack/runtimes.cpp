#include "stack/runtimes.hpp"

#include "stack/go/go.hpp"
#include "stack/jvm/jvm.hpp"
#include "stack/node/node.hpp"
#include "stack/python/python.hpp"

namespace stack {
namespace {

// A line for each runtime, in the order in which they are asked.
constexpr DetectRuntime runtimes[] = {
    detect_jvm,
    detect_node,
    detect_python,
    detect_go,
};

}  // namespace

std::unique_ptr<RuntimeReader> detect_runtime(const Subject& subject, std::string_view mode) {
  for (const DetectRuntime detect : runtimes) {
    auto reader = detect(subject);
    if (reader && (mode == "auto" || mode == "all" || mode == reader->mode())) return reader;
  }
  return nullptr;
}

}  // namespace stack
