#include "targets/find/cgroup.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "targets/proc.hpp"

namespace hatchd::targets {

namespace {

// The UID of "user@UID.service".
std::optional<uid_t> manager_of(std::string_view component) {
  constexpr std::string_view begin = "user@", end = ".service";
  if (!component.starts_with(begin) || !component.ends_with(end)) return std::nullopt;
  const std::string_view digits = component.substr(begin.size(), component.size() - begin.size() - end.size());
  uid_t uid = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), uid);
  if (error != std::errc{} || stop != digits.data() + digits.size()) return std::nullopt;
  return uid;
}

}  // namespace

std::vector<Cgroup> parse_cgroups(std::string_view text) {
  std::vector<Cgroup> cgroups;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // ID:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (!(line.substr(0, first) == "0" && controllers.empty()) && controllers != "name=systemd") continue;
    Cgroup cgroup;
    std::string_view path = line.substr(second + 1);
    while (!path.empty()) {
      const std::size_t slash = std::min(path.find('/'), path.size());
      if (slash > 0) {
        cgroup.components.emplace_back(path.substr(0, slash));
        if (!cgroup.manager) cgroup.manager = manager_of(cgroup.components.back());
      }
      path.remove_prefix(std::min(slash + 1, path.size()));
    }
    cgroups.push_back(std::move(cgroup));
  }
  return cgroups;
}

std::vector<Cgroup> read_cgroups(int directory) {
  const auto text = read_front(directory, "cgroup", 16 * 1024);
  return text ? parse_cgroups(*text) : std::vector<Cgroup>{};
}

std::string unit_of(const Cgroup& cgroup) {
  auto at = cgroup.components.begin();
  const auto end = cgroup.components.end();
  const auto skip_slices = [&] {
    at = std::find_if_not(at, end, [](const std::string& c) { return c.ends_with(".slice"); });
  };
  skip_slices();
  if (at != end && cgroup.manager && manager_of(*at)) {
    // The manager's own processes sit in init.scope below it.
    if (at + 1 == end) return *at;
    ++at;
    skip_slices();
  }
  return at != end && at->ends_with(".service") ? *at : std::string();
}

bool admitted(const Cgroup& cgroup, int directory, const Context& context) {
  if (cgroup.manager)
    return context.user ? *cgroup.manager == *context.user : !context.privileged && *cgroup.manager == ::geteuid();
  if (!context.user) return true;
  const auto status = read_status(directory);
  return status && belongs_to(*status, *context.user);
}

bool in_container(const Cgroup& cgroup, std::string_view id) {
  return std::any_of(cgroup.components.begin(), cgroup.components.end(), [&](std::string_view component) {
    constexpr std::string_view scope = ".scope";
    if (component.ends_with(scope)) component.remove_suffix(scope.size());
    component.remove_prefix(component.rfind('-') + 1);  // npos + 1 is 0
    return component.size() >= 12 && component.starts_with(id) &&
           component.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  });
}

}  // namespace hatchd::targets
