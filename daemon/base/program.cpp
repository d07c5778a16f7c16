#include "base/program.hpp"

#include <unistd.h>

#include <filesystem>

namespace hatchd {

std::string own_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

Result<std::string> own_part(std::string_view name) {
  const std::filesystem::path bin = std::filesystem::path(own_program()).parent_path();
  for (const char* folder : {"../libexec/hatchd", "../libexec"}) {
    const auto path = (bin / folder / name).lexically_normal();
    if (::access(path.c_str(), F_OK) == 0) return path.string();
  }
  return refuse("internal", std::string(name) + " is neither in ../libexec/hatchd nor in ../libexec of " + bin.string(),
                "install hatchd whole, or build it with ./dev build");
}

}  // namespace hatchd
