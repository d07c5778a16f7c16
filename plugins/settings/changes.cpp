#include "settings/changes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "hatch/ulid.hpp"
#include "settings/environment.hpp"

namespace settings {
namespace {

constexpr std::size_t snapshot_limit = std::size_t{8} << 20;
constexpr std::string_view suffix = ".settings";

constexpr std::string_view volatile_names[] = {
    "process.running_for_s", "process.threads",         "time.now",
    "cgroup.memory_current", "cgroup.cpu_used_us",      "cgroup.memory_swap_current",
    "cgroup.pids_current",   "cgroup.cpu_throttled_us", "runtime.java.threads.live"};

// Two JSON strings a line: no value can end it.
std::string line_of(std::string_view name, std::string_view value) {
  std::string line;
  hatch::append_quoted(line, name);
  line += ' ';
  hatch::append_quoted(line, value);
  return line += '\n';
}

std::optional<Row> row_of(std::string_view line) {
  Row row;
  std::size_t at = 0;
  if (!hatch::read_quoted(line, at, row.name) || line.substr(at, 1) != " ") return std::nullopt;
  if (!hatch::read_quoted(line, ++at, row.value) || at != line.size()) return std::nullopt;
  return row;
}

// The names of all files, the oldest first: run ids ascend with time.
std::vector<std::string> files_of(int cache) {
  std::vector<std::string> names;
  const int again = ::openat(cache, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* list = again < 0 ? nullptr : ::fdopendir(again);
  if (!list) {
    if (again >= 0) ::close(again);
    return names;
  }
  while (const dirent* entry = ::readdir(list))
    if (std::string_view{entry->d_name}.ends_with(suffix)) names.emplace_back(entry->d_name);
  ::closedir(list);
  std::sort(names.begin(), names.end());
  return names;
}

bool was_to_have(const Snapshot& snapshot, std::string_view row) {
  const std::string_view section = row.substr(0, row.find('.'));
  return snapshot.sections.empty() ||
         std::find(snapshot.sections.begin(), snapshot.sections.end(), section) != snapshot.sections.end();
}

void forget_the_oldest(int cache) {
  std::vector<std::string> names = files_of(cache);
  if (names.size() <= max_snapshots) return;
  names.resize(names.size() - max_snapshots);
  for (const std::string& name : names) ::unlinkat(cache, name.c_str(), 0);
}

}  // namespace

Snapshot snapshot_of(std::string target, bool values, const std::vector<Section>& sections, const hatch::Mask& mask) {
  Snapshot snapshot{std::move(target), values, {}};
  for (const Section& section : sections) {
    for (const Row& row : section.rows) {
      std::string name = section.name + "." + row.name;
      if (std::find(std::begin(volatile_names), std::end(volatile_names), name) != std::end(volatile_names)) continue;
      snapshot.rows.push_back({std::move(name), mask.text(row.value)});
    }
  }
  std::stable_sort(snapshot.rows.begin(), snapshot.rows.end(),
                   [](const Row& a, const Row& b) { return a.name < b.name; });
  return snapshot;
}

int save(int cache, std::string_view run, const Snapshot& snapshot) {
  if (cache < 0) return ENOENT;
  std::string what = snapshot.values ? "values" : "names";
  for (const std::string& section : snapshot.sections) what += ' ' + section;
  std::string text = line_of(snapshot.target, what);
  for (const Row& row : snapshot.rows) text += line_of(row.name, row.value);
  if (text.size() > snapshot_limit) return EFBIG;
  const std::string name = std::string(run) + std::string(suffix), part = name + ".part";
  const stack::UniqueFd file{::openat(cache, part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!file) return errno;
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t n = ::write(file.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      ::unlinkat(cache, part.c_str(), 0);
      return error;
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::renameat(cache, part.c_str(), cache, name.c_str()) != 0) return errno;
  forget_the_oldest(cache);
  return 0;
}

std::optional<Snapshot> load(int cache, const std::string& run) {
  if (cache < 0) return std::nullopt;
  const stack::UniqueFd file{::openat(cache, (run + std::string(suffix)).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!file) return std::nullopt;
  const auto text = stack::read_all(file.get(), snapshot_limit);
  if (!text) return std::nullopt;
  std::optional<Snapshot> snapshot;
  bool whole = true;
  for_each_line(*text, [&](std::string_view line) {
    auto row = row_of(line);
    if (!row) {
      whole = false;
    } else if (!snapshot) {
      std::vector<std::string> words;
      for (std::string_view rest = row->value; !rest.empty();) {
        words.emplace_back(rest.substr(0, rest.find(' ')));
        rest.remove_prefix(std::min(rest.size(), words.back().size() + 1));
      }
      snapshot = Snapshot{std::move(row->name), !words.empty() && words.front() == "values", {}};
      if (words.size() > 1) snapshot->sections.assign(words.begin() + 1, words.end());
    } else {
      snapshot->rows.push_back(std::move(*row));
    }
  });
  return whole ? snapshot : std::nullopt;
}

std::optional<std::pair<std::string, Snapshot>> newest(int cache, const std::string& target, bool values) {
  if (cache < 0) return std::nullopt;
  const std::vector<std::string> names = files_of(cache);
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    std::string run = name->substr(0, name->size() - suffix.size());
    if (auto snapshot = load(cache, run); snapshot && snapshot->target == target && (snapshot->values || !values))
      return std::pair{std::move(run), std::move(*snapshot)};
  }
  return std::nullopt;
}

std::vector<Change> changes(const Snapshot& before, const Snapshot& after) {
  std::vector<Change> all;
  const bool values = before.values && after.values;
  const auto counts = [&](const Row& row) { return was_to_have(before, row.name) && was_to_have(after, row.name); };
  auto was = before.rows.begin();
  auto now = after.rows.begin();
  while (was != before.rows.end() || now != after.rows.end()) {
    if (now == after.rows.end() || (was != before.rows.end() && was->name < now->name)) {
      if (counts(*was)) all.push_back({was->name, was->value, std::nullopt});
      ++was;
    } else if (was == before.rows.end() || now->name < was->name) {
      if (counts(*now)) all.push_back({now->name, std::nullopt, now->value});
      ++now;
    } else {
      const bool named_only = was->name.starts_with("environment.") || was->name.starts_with("command_line.");
      if (was->value != now->value && (values || !named_only)) all.push_back({now->name, was->value, now->value});
      ++was, ++now;
    }
  }
  return all;
}

std::string age_of(std::string_view run, std::chrono::system_clock::time_point now) {
  const auto made = hatch::made_at(run);
  if (!made) return {};
  const std::int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now - *made).count();
  if (seconds < 0) return {};
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 120 * 60) return std::to_string(seconds / 60) + " min";
  return seconds < 48 * 3600 ? std::to_string(seconds / 3600) + " h" : std::to_string(seconds / 86400) + " d";
}

}  // namespace settings
