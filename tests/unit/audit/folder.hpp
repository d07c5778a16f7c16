// A directory of its own for each test, removed at the end.
#pragma once

#include <fcntl.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace json = boost::json;

struct Folder {
  std::filesystem::path path;
  hatchd::UniqueFd fd;

  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "hatchd-audit-XXXXXX").string();
    if (!::mkdtemp(name.data())) std::abort();
    path = name;
    fd = open();
  }
  ~Folder() { std::filesystem::remove_all(path); }

  hatchd::UniqueFd open() const { return hatchd::UniqueFd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
  std::string read(const std::string& name) const {
    std::ifstream file(path / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<json::object> entries(const std::string& name) const {
    std::vector<json::object> list;
    std::ifstream file(path / name);
    for (std::string line; std::getline(file, line);) list.push_back(json::parse(line).as_object());
    return list;
  }
};
