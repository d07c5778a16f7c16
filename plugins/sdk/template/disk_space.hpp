// disk.space: is there room left? A complete hatch: copy it, rename it, and let it prove what you need to know.
#pragma once

#include <sys/statvfs.h>

#include <hatch/hatch.hpp>

struct DiskSpace {
  static constexpr hatch::About about{
      .id = "disk.space",
      .title = "See whether a file system has room left",
      .documentation = "Asks the file system that holds `path` and fails when less than `least` percent of it is free.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::none,
      .timeout = std::chrono::seconds{10},
  };

  // The members are the parameters, their values the defaults.
  std::string path = "/";
  int least = 5;

  void params(auto& p) {
    p.optional("path", path, "Any file or folder on the file system").length(1, 4096);
    p.optional("least", least, "How many percent must be free").range(0, 100);
  }

  hatch::Result run(hatch::Run&) {
    struct statvfs fs {};
    if (::statvfs(path.c_str(), &fs) != 0) throw hatch::Failure(path + ": " + std::strerror(errno));
    const auto free = fs.f_blocks ? static_cast<int>(100 * fs.f_bavail / fs.f_blocks) : 0;
    hatch::Result result{std::to_string(free) + " % of " + path + " is free"};
    result.add("free_percent", free).add("free_bytes", fs.f_bavail * fs.f_frsize);
    if (free < least) throw hatch::Failure("only " + std::to_string(free) + " % of " + path + " is free").with(result);
    return result;
  }
};
