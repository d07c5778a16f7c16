#include "config/commands.hpp"

#include <cstdio>
#include <sstream>

#include <boost/json/value.hpp>

#include "base/json.hpp"
#include "base/mask.hpp"

namespace hatchd::config {
namespace {

int print_faults(const Loaded& loaded) {
  for (const Fault& fault : loaded.faults) std::fprintf(stderr, "%s\n", to_string(fault).c_str());
  return loaded.faults.empty() ? 0 : 1;
}

}  // namespace

int check_command(const std::string& file, CheckTargets check_targets, CheckWorld check_world) {
  Loaded loaded = load(file, check_targets);
  // What does not load says nothing of what it names.
  if (loaded.faults.empty() && check_world != nullptr)
    for (FieldError& error : check_world(loaded.config)) loaded.faults.push_back(fault_at(loaded, std::move(error)));
  if (print_faults(loaded) != 0) return 1;
  std::printf("%s: ok\n", file.c_str());
  return 0;
}

int show_command(const std::string& file, CheckTargets check_targets) {
  const Loaded loaded = load(file, check_targets);
  if (print_faults(loaded) != 0) return 1;
  mask::use({{"mask", loaded.config.mask}});
  std::fputs(show(loaded).c_str(), stdout);
  std::fputs("\n// Where each value comes from:\n", stdout);
  std::istringstream lines(origins(loaded));
  for (std::string line; std::getline(lines, line);) std::printf("// %s\n", line.c_str());
  return 0;
}

int schema_command() {
  std::printf("%s\n", pretty(schema()).c_str());
  return 0;
}

}  // namespace hatchd::config
