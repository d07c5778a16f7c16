// A directory of its own for each test, removed at the end.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/fd.hpp"

struct Folder {
  std::filesystem::path path;
  hatchd::UniqueFd fd;

  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "hatchd-runs-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
    fd = hatchd::UniqueFd{::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  }
  ~Folder() { std::filesystem::remove_all(path); }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
  }
};
