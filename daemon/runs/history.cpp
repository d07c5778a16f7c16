#include "runs/history.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "hatch/ulid.hpp"
#include "runs/follow.hpp"

namespace hatchd::runs {

namespace {

// At once on the pool: whoever asks for a run waits for no more than these.
constexpr std::size_t batch = 64;

struct Batch {
  std::vector<Run> runs;
  History::Counts counts;
};

// A record that claims more than this is compared with what lies there: it would push out what is kept.
constexpr std::uint64_t much = 1ull << 30;

Run unreadable(const Disk& disk, const std::string& id, const std::string& why, History::Counts& counts) {
  if (counts.unreadable++ == 0) {
    counts.which = id;
    counts.why = why;
  }
  Run run;
  run.id = id;
  run.state = State::crashed;
  run.effect = schema::Effect::disrupt;
  run.bytes = disk.bytes_of(id);
  return run;
}

Batch read_batch(const Disk& disk, const std::vector<std::string>& ids) {
  Batch read;
  for (const std::string& id : ids) {
    try {
      if (auto run = read_back(disk, id, read.counts)) read.runs.push_back(std::move(*run));
    } catch (const std::exception& error) {  // one folder must not keep all others from being read
      read.runs.push_back(unreadable(disk, id, error.what(), read.counts));
    }
  }
  return read;
}

}  // namespace

void History::look() {
  int error = 0;
  std::vector<std::string> ids = disk_.ids(&error);
  if (error)
    log::error("the folder of the runs cannot be read whole, so runs are missing from the history",
               {{"why", errno_text(error)}, {"remedy", "look at the rights and the health of runs.directory"}});
  // New ids follow the newest, so what is beyond all clocks must not be taken for one.
  const auto beyond = std::partition_point(ids.begin(), ids.end(),
                                           [](const std::string& id) { return hatch::made_at(id).has_value(); });
  if (beyond != ids.end())
    log::warning(
        "folders whose names are no ids of runs, since they are of a time beyond the year 2262, are left alone",
        {{"folders", ids.end() - beyond}, {"first", *beyond}});
  ids.erase(beyond, ids.end());
  if (!ids.empty()) continue_ulids(ids.back());
  store_.expect(std::move(ids));
}

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
    if (counts.unreadable == 0) counts.which = read.counts.which, counts.why = read.counts.why;
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
  if (auto restored = disk.restore_end(id)) {
    ++counts.runs;
    return restored;
  }
  const auto there = disk.tidy(id);
  if (there && !*there) return std::nullopt;
  ++counts.runs;
  if (!there) return unreadable(disk, id, there.error().detail, counts);
  std::uint64_t size = 0;
  auto run = disk.read_record(id, &size);
  if (!run) return unreadable(disk, id, run.error().detail, counts);
  if (run->bytes > much) run->bytes = std::min(run->bytes, disk.bytes_of(id));
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
