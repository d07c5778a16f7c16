// The environment as the process was started with it: later changes by setenv(3) are in its memory alone (proc(5)).
#include <algorithm>
#include <cerrno>

#include "settings/environment.hpp"

namespace settings {

std::vector<Row> parse_environment(std::string_view text) {
  std::vector<Row> all;
  while (!text.empty() && all.size() < max_variables) {
    const std::string_view entry = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const std::size_t equals = entry.find('=');
    if (equals == entry.npos || equals == 0) continue;  // what setproctitle(3) wrote over it, or no variable
    all.push_back({std::string(entry.substr(0, equals)), std::string(entry.substr(equals + 1))});
  }
  // The first of two equal names is the one that getenv(3) finds.
  std::stable_sort(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.name < b.name; });
  all.erase(std::unique(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.name == b.name; }),
            all.end());
  return all;
}

Section environment(const Subject& subject, int environ_fd) {
  Section section{"environment"};
  if (environ_fd < 0) return section.missing("environ", -environ_fd);
  const auto text = stack::read_all(environ_fd, environment_limit);
  if (!text) return section.missing("environ", errno);
  if (text->size() == environment_limit) section.trouble = "the environment is longer than the 1 MiB that is shown";
  for (Row& variable : parse_environment(*text)) {
    if (!subject.values) {
      section.object.add(variable.name, nullptr);
      section.rows.push_back({std::move(variable.name), {}});
      continue;
    }
    section.add(variable.name, subject.mask.value(variable.name, variable.value));
  }
  section.close();
  return section;
}

}  // namespace settings
