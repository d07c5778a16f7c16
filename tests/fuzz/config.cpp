// Any bytes as a configuration file: it loads, or every fault names a place; and what `config show` prints loads again
// and shows the same.
#include <stdlib.h>

#include <boost/json.hpp>
#include <cstdint>
#include <fstream>
#include <string>

#include "base/json.hpp"
#include "config/config.hpp"

namespace {

std::string folder() {
  char pattern[] = "/tmp/hatchd-fuzz-XXXXXX";
  static const std::string path = ::mkdtemp(pattern);
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* input, std::size_t size) {
  const char* data = reinterpret_cast<const char*>(input);
  using namespace hatchd;
  static const std::string file = folder() + "/hatchd.json";
  static const bool removed_at_exit = [] {
    return ::atexit([] { ::remove(file.c_str()), ::remove(folder().c_str()); }) == 0;
  }();
  if (!removed_at_exit) abort();
  std::ofstream(file, std::ios::trunc | std::ios::binary).write(data, static_cast<std::streamsize>(size));

  const config::Loaded loaded = config::load(file);
  for (const config::Fault& fault : loaded.faults)
    if (config::to_string(fault).empty()) abort();
  if (!loaded.faults.empty()) return 0;
  config::origins(loaded);
  const std::string shown = config::show(loaded);
  auto value = parse_json(shown);
  if (!value || !value->is_object()) abort();
  const config::Loaded again = config::from_json(std::move(value->get_object()));
  if (again.faults.empty() && config::show(again) != shown) abort();
  return 0;
}
