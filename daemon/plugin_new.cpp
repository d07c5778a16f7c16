#include "plugin_new.hpp"

#include <cstdio>
#include <filesystem>

#include "base/program.hpp"

namespace hatchd {

namespace fs = std::filesystem;

namespace {

// Beside an installed hatchd, or in the tree that a build folder belongs to.
fs::path template_folder() {
  const fs::path bin = fs::path(own_program()).parent_path();
  for (const char* place : {"../share/hatchd/template", "../../../plugins/sdk/template"})
    if (const fs::path folder = (bin / place).lexically_normal(); fs::exists(folder / "CMakeLists.txt")) return folder;
  return {};
}

}  // namespace

int plugin_new_command(const std::string& directory) {
  const fs::path from = template_folder();
  if (from.empty()) {
    std::fprintf(stderr,
                 "hatchd: the template is not installed\nremedy: install hatchd's SDK (the component \"sdk\")\n");
    return 1;
  }
  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_empty(directory, error)) {
    std::fprintf(stderr, "hatchd: %s is there and not empty\nremedy: name a new folder\n", directory.c_str());
    return 2;
  }
  fs::create_directories(directory, error);
  if (!error) fs::copy(from, directory, fs::copy_options::recursive, error);
  if (error) {
    std::fprintf(stderr, "hatchd: %s: %s\n", directory.c_str(), error.message().c_str());
    return 1;
  }
  std::printf(
      "%s holds a complete plugin. Build it and try it:\n\n  cmake -S %s -B %s/build && cmake --build %s/build\n"
      "  hatchd check --plugin %s/build/mine.so\n  hatchd exec --plugin %s/build/mine.so disk.space path=/\n",
      directory.c_str(), directory.c_str(), directory.c_str(), directory.c_str(), directory.c_str(), directory.c_str());
  return 0;
}

}  // namespace hatchd
