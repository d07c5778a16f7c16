// A folder of configuration files that goes with the test.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "config/config.hpp"

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "hatchd-config-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  Folder(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name = "hatchd.json") const { return path_ + "/" + name; }

  // Writes a file, and the folder above it where there is none.
  std::string write(const std::string& text, const std::string& name = "hatchd.json", mode_t mode = 0644) const {
    const std::string full = file(name);
    const std::string above = std::filesystem::path(full).parent_path().string();
    if (!std::filesystem::exists(above)) {
      std::filesystem::create_directory(above);
      ::chmod(above.c_str(), 0755);
    }
    std::ofstream(full) << text;
    ::chmod(full.c_str(), mode);
    return full;
  }

  // Each fault in a line, the folder's name left out.
  std::string told(const hatchd::config::Loaded& loaded) const {
    std::string out;
    for (const auto& fault : loaded.faults) out += hatchd::config::to_string(fault) + "\n";
    for (std::size_t at; (at = out.find(path_ + "/")) != out.npos;) out.erase(at, path_.size() + 1);
    return out;
  }

 private:
  std::string path_;
};
