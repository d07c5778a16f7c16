// Which clock and time zone the process lives by.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <ctime>

#include "settings/section.hpp"

namespace settings {
namespace {

std::string iso(std::time_t time) {
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

}  // namespace

Section clock(const Subject& subject) {
  Section section{"time"};
  section.add("now", iso(std::time(nullptr)));
  const int proc = subject.process.proc_fd;
  // What the C library takes when TZ is not set (tzset(3)). The link is read, not followed: its text is the answer.
  if (const auto zone = stack::link_below(proc, "root/etc/localtime")) {
    const std::size_t names = zone->find("zoneinfo/");
    section.add("zone", names == zone->npos ? *zone : zone->substr(names + 9));
    section.add("zone_from", "/etc/localtime");
  } else if (errno == ENOENT) {
    section.add("zone", "UTC");
    section.add("zone_from", "no /etc/localtime");
  } else if (errno == EINVAL) {
    section.add("zone_from", "/etc/localtime, a file that does not say its name");
  } else {
    section.missing("/etc/localtime", errno);
  }
  // time_namespaces(7): seconds that the process's monotonic and boot clocks differ from the machine's.
  if (const auto offsets = stack::read_below(proc, "timens_offsets", 256)) {
    for_each_line(*offsets, [&](std::string_view line) {
      const auto all = words(line);
      if (all.size() == 3 && (all[1] != "0" || all[2] != "0")) section.add(std::string(all[0]) + "_offset_s", all[1]);
    });
  }
  section.close();
  return section;
}

}  // namespace settings
