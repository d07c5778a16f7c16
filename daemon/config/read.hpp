// FILE and FILE.d/*.json as one value, in which each part still knows its file and line.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace hatchd::config {

struct Read {
  boost::json::object merged;
  std::map<std::string, Place> places;
  std::vector<Fault> faults;
  bool whole = true;  // false: a file is missing from it, so what is absent may be there
};

Read read_files(const std::string& file);

// Why an open file or folder must not be trusted, "" when it may: somebody other than root and ourselves could change it
// or put another in its place. Names path, owner, mode and bit, and what to do.
std::string why_untrusted(const std::string& path, int fd);

}  // namespace hatchd::config
