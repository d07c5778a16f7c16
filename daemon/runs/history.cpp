#include "runs/history.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "runs/follow.hpp"

namespace hatchd::runs {

namespace {

// At once on the pool: whoever asks for a run waits for no more than these.
constexpr std::size_t batch = 64;

struct Batch {
  std::vector<Run> runs;
  History::Counts counts;
};

Run unreadable(const std::string& id) {
  Run run;
  run.id = id;
  run.state = State::crashed;
  run.effect = schema::Effect::disrupt;
  return run;
}

Batch read_batch(const Disk& disk, const std::vector<std::string>& ids) {
  Batch read;
  for (const std::string& id : ids) {
    try {
      if (auto run = read_back(disk, id, read.counts)) read.runs.push_back(std::move(*run));
    } catch (const std::exception& error) {  // one folder must not keep all others from being read
      log::error("a run could not be read back", {{"run", id}, {"error", error.what()}});
      read.runs.push_back(unreadable(id));
    }
  }
  return read;
}

}  // namespace

void History::look() { store_.expect(disk_.ids()); }

asio::awaitable<History::Counts> History::read(std::function<void(const Run&)> take) {
  Counts counts;
  while (store_.expects_any()) {
    std::vector<std::string> ids = std::exchange(wanted_, {});
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::erase_if(ids, [&](const std::string& id) { return !store_.expects(id); });
    if (ids.empty()) ids = store_.expected(batch);
    auto work = [this, ids] { return read_batch(disk_, ids); };
    const Batch read = co_await pool_.run(std::move(work));
    for (const Run& run : read.runs) {
      store_.put(run);
      take(run);
    }
    for (const std::string& id : ids) store_.arrived(id);
    counts.runs += read.counts.runs;
    counts.interrupted += read.counts.interrupted;
    counts.unreadable += read.counts.unreadable;
    moved_.notify();
  }
  co_return counts;
}

asio::awaitable<void> History::have(std::string id) {
  if (!store_.expects(id)) co_return;
  wanted_.push_back(id);
  while (store_.expects(id)) co_await moved_.wait();
}

asio::awaitable<void> History::more(SteadyTime until) {
  if (!whole()) co_await moved_.wait(until);
}

std::optional<Run> read_back(const Disk& disk, const std::string& id, History::Counts& counts) {
  if (!disk.tidy(id)) return std::nullopt;
  ++counts.runs;
  std::uint64_t size = 0;
  auto run = disk.read_record(id, &size);
  if (!run) {
    ++counts.unreadable;
    return unreadable(id);
  }
  disk.tidy_artifacts(*run);
  if (!is_over(run->state)) {
    ++counts.interrupted;
    run->state = State::crashed;
    run->error = Problem{"run-crashed", "hatchd ended while the run was under way"};
    run->finished = rfc3339(std::chrono::system_clock::now());
    disk.mend(id, events_file);
    if (auto written = disk.write_record(*run, true); !written)
      log::warning("an interrupted run could not be recorded", {{"run", id}, {"problem", written.error().detail}});
  } else if (disk.tidy_result(*run)) {
    if (auto written = disk.write_record(*run, true); !written)
      log::warning("a result that is lost is still in its record", {{"run", id}, {"problem", written.error().detail}});
  }
  run->record_bytes = size;
  return std::move(*run);
}

}  // namespace hatchd::runs
