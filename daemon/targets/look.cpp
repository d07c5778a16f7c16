#include "targets/look.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <set>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "hatch/json.hpp"
#include "targets/proc.hpp"

namespace hatchd::targets {

namespace {

constexpr std::size_t max_matches = 65'536;
constexpr int max_depth = 64;  // of the tree of processes, upwards

std::optional<Stat> stat_of(pid_t pid) {
  const auto text = read_front(AT_FDCWD, ("/proc/" + std::to_string(pid) + "/stat").c_str(), 4096);
  return text ? parse_stat(*text) : std::nullopt;
}

pid_t parent_of(pid_t pid) {
  const auto stat = stat_of(pid);
  return stat ? stat->parent : 0;
}

class Family {
 public:
  explicit Family(const Own& own) : own_(own) {}
  bool contains(const Stat& stat, int depth = 0) {
    if (stat.pid == own_.self || stat.pid == own_.supervisor) return true;
    if (stat.parent == own_.supervisor) return stat.name.starts_with("hatchd");
    if (stat.parent <= 1 || depth >= max_depth) return false;
    const auto known = known_.find(stat.parent);
    if (known != known_.end()) return known->second;
    const auto parent = stat_of(stat.parent);
    return known_[stat.parent] = parent && contains(*parent, depth + 1);
  }

 private:
  Own own_;
  std::map<pid_t, bool> known_;  // within one look, in which numbers are not given anew often enough to matter
};

void ask(Search& search, pid_t pid, int directory, Family& own) {
  if (search.seen.size() >= max_matches || !search.finder->fits(pid, directory)) return;
  auto stat = read_stat(directory);
  if (!stat || stat->kernel_thread || stat->state == 'Z' || stat->state == 'X' || own.contains(*stat)) return;
  if (search.user && !search.finder->sees_to_user()) {
    const auto status = read_status(directory);
    if (!status || !belongs_to(*status, *search.user)) {
      ++search.of_others;
      return;
    }
  }
  search.seen.push_back({pid, stat->started_ticks, stat->parent, std::move(stat->name)});
}

}  // namespace

void look(std::vector<Search>& searches, const Own& own) {
  Family family(own);
  const UniqueFd proc{::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  const auto visit = [&](pid_t pid, const char* number) {
    const UniqueFd directory{::openat(proc.get(), number, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) return;
    for (Search& search : searches)
      if (!search.only || *search.only == pid) ask(search, pid, directory.get(), family);
  };
  if (std::all_of(searches.begin(), searches.end(), [](const Search& search) { return search.only.has_value(); })) {
    std::set<pid_t> pids;
    for (const Search& search : searches) pids.insert(*search.only);
    for (const pid_t pid : pids) visit(pid, std::to_string(pid).c_str());
    return;
  }
  each_entry(proc.get(), ".", [&](const char* entry) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(entry, entry + std::strlen(entry), pid);
    if (error == std::errc{} && *end == '\0') visit(pid, entry);
    return true;
  });
}

std::optional<std::size_t> root_of(const std::vector<Seen>& seen) {
  std::map<pid_t, std::size_t> index;
  for (std::size_t i = 0; i < seen.size(); ++i) index[seen[i].pid] = i;
  std::optional<std::size_t> root;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    // The uppermost match above this one.
    std::size_t top = i;
    pid_t parent = seen[i].parent;
    for (int depth = 0; parent > 0 && depth < max_depth; ++depth) {
      const auto found = index.find(parent);
      if (found != index.end()) top = found->second;
      parent = found != index.end() ? seen[found->second].parent : parent_of(parent);
    }
    if (root && *root != top) return std::nullopt;
    root = top;
  }
  return root;
}

void order_group(std::vector<Seen>& seen) {
  const auto older = [](const Seen& a, const Seen& b) {
    return std::pair(a.started_ticks, a.pid) < std::pair(b.started_ticks, b.pid);
  };
  std::sort(seen.begin(), seen.end(), older);
  std::set<pid_t> inside;
  for (const Seen& one : seen) inside.insert(one.pid);
  const auto main =
      std::find_if(seen.begin(), seen.end(), [&](const Seen& one) { return !inside.contains(one.parent); });
  if (main != seen.end()) std::rotate(seen.begin(), main, main + 1);
}

std::string describe(const Seen& seen) {
  return std::to_string(seen.pid) + ' ' + hatch::printable(seen.name) + ' ' + rfc3339(wall_time(seen.started_ticks));
}

}  // namespace hatchd::targets
