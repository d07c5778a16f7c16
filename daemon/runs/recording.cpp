// What is on disk of a run, from its begin to its end: folder, record, events, result. All of it is written by the pool;
// disk.hpp knows how.
#include <boost/asio/detached.hpp>
#include <utility>

#include "base/log.hpp"
#include "runs/runner.hpp"

namespace hatchd::runs {

namespace {

constexpr std::uint64_t max_fresh = 2 * link::Outcome::max_inline;  // read from memory after it was written
constexpr std::uint64_t max_texts = link::Outcome::max_inline;      // of what lies in a record

struct Written {
  Result<void> result, events;
  Result<std::uint64_t> record;  // its size
  std::uint64_t bytes = 0;       // of the run, as the record has it
  Files texts;                   // that lie in the record
  std::shared_ptr<Ends::Place> place;
};

std::uint64_t bytes_of(const Files& files) {
  std::uint64_t bytes = 0;
  for (const auto& [name, text] : files) bytes += text.size();
  return bytes;
}

// From a record: what is in memory only will not be there after a restart.
void leave_out_result(Run& run) {
  run.has_result = false;
  run.renderings.clear();
}

void events_not_stored(const LivePtr& live, const Problem& problem) {
  log::error("events of a run are not on disk", {{"run", live->run.id}, {"problem", problem.detail}});
  live->events.stay_in_memory();
}

}  // namespace

// On disk before it starts, so that a crash of hatchd leaves its trace. What only looks is written as it starts and need
// not outlast a power cut, and where there is little room it goes on in memory, because a full disk is when people need to
// look. What acts is recorded as long as there is any room; else it is not started.
asio::awaitable<void> Runner::begin_record(LivePtr live, const Order& order) {
  live->writing_record = true;
  const Defer done{[&] {
    live->writing_record = false;
    live->disk_free.notify();
  }};
  const bool acts = order.effect != schema::Effect::observe;
  const auto key = order.key;  // `order` may be gone after the wait
  auto work = [this, run = live->run, acts, lasting = live->lasting, key]() -> Result<std::uint64_t> {
    if (!acts && disk_.low()) return refuse("no-space", "less than runs.min_free is left");
    auto size = disk_.begin(run, lasting);
    // The record before the key: a key never names a run that nobody knows.
    if (size && key)
      if (auto kept = keys_.write(*key, run.id, run.created()); !kept) size = tl::unexpected(kept.error());
    if (!size) disk_.remove(run.id);
    return size;
  };
  const auto size = co_await pool_.run(std::move(work));
  if (size) {
    live->run.record_bytes = *size;
  } else {
    log::error("a run is not on disk", {{"run", live->run.id}, {"problem", size.error().detail}});
    live->run.stored = live->folder = false;
    live->events.stay_in_memory();
    if (acts && key) keys_.release(*key, live->run.id);
  }
  if (!is_over(live->run.state)) store_.put(live->run);  // else write_end() does, with its last record
}

asio::awaitable<Result<void>> Runner::write_record(LivePtr live, bool durable) {
  co_await live->on_disk();
  live->writing_record = true;
  const Defer done{[&] {
    live->writing_record = false;
    live->disk_free.notify();
  }};
  Run run = live->run;
  if (!live->kept.empty()) leave_out_result(run);
  auto work = [this, run = std::move(run), durable] { return disk_.write_record(run, durable); };
  const auto size = co_await pool_.run(std::move(work));
  if (!size) co_return tl::unexpected(size.error());
  live->run.record_bytes = *size;
  co_return Result<void>{};
}

// Writes the record as it is now. A disk that refuses does not end the run.
asio::awaitable<void> Runner::record(LivePtr live) {
  if (live->preflight) co_return;
  co_await live->on_disk();
  if (live->folder) {
    const auto written = co_await write_record(live, live->lasting);
    if (!written) not_recorded(live, written.error());
  }
  store_.put(live->run);
}

void Runner::not_recorded(const LivePtr& live, const Problem& problem) {
  const bool stored = std::exchange(live->run.stored, false);
  log::error("a run could not be recorded", {{"run", live->run.id}, {"problem", problem.detail}});
  if (is_over(live->run.state)) write_later(live, stored);
}

// What was told and is not on disk yet.
asio::awaitable<void> Runner::write_events(LivePtr live) {
  while (live->writing_events) co_await live->disk_free.wait();
  live->writing_events = true;
  const Defer done{[&] {
    live->writing_events = false;
    live->disk_free.notify();
  }};
  while (live->events.has_unwritten()) {
    std::string entries = live->events.take_unwritten();
    const std::uint64_t size = entries.size();
    auto work = [this, id = live->run.id, entries = std::move(entries)] {
      return disk_.append(id, events_file, entries, false);
    };
    live->run.bytes += size;
    live->events_on_disk = true;
    const auto written = co_await pool_.run(std::move(work));
    if (!written) {
      live->run.bytes -= size;
      events_not_stored(live, written.error());
    }
  }
}

// Nobody waits for it: a run that tells without end would keep them.
void Runner::spill_events(const LivePtr& live) {
  if (live->lasts && live->events.has_unwritten() && !live->writing_events)
    asio::co_spawn(executor_, write_events(live), asio::detached);
}

// A run that is over: its result where that is not on disk yet, what it told, and then the record, so that whoever reads
// the record finds the rest; all in the record where it is little. One piece of work for the pool, since going there and
// back takes longer than the writing.
asio::awaitable<void> Runner::write_end(LivePtr live) {
  if (live->preflight) co_return;
  Run& run = live->run;
  while (live->writing_record || live->writing_events) co_await live->disk_free.wait();
  if (!live->folder) {
    store_.put(run);
    co_return;
  }
  live->writing_record = live->writing_events = true;
  const Defer done{[&] {
    live->writing_record = live->writing_events = false;
    live->disk_free.notify();
  }};
  std::string entries = live->events.take_unwritten();
  // What is told when the record is there: a file gets it later, a record has it now or never.
  std::string last = live->events.entry_of(1, "state", state_event(run));
  last += live->events.entry_of(2, "result", result_event(run));
  Run copy = run;
  if (!live->kept.empty()) leave_out_result(copy);
  auto work = [this, copy = std::move(copy), fresh = live->fresh, entries = std::move(entries), last = std::move(last),
               durable = live->lasting, events_on_disk = live->events_on_disk]() mutable {
    static const Files none;
    const Files& files = fresh ? *fresh : none;
    Written written;
    const std::uint64_t size = bytes_of(files);
    if (!events_on_disk && size + entries.size() + last.size() <= max_texts) {
      Run whole = copy;
      whole.bytes -= size;
      whole.texts = files;
      whole.texts[events_file] = entries + last;
      written.record = durable ? disk_.end(whole, written.place) : disk_.write_record(whole, false);
      if (written.record) {
        written.bytes = whole.bytes;
        written.texts = std::move(whole.texts);
        return written;
      }
    }
    copy.bytes += entries.size();
    if (!entries.empty()) written.events = disk_.append(copy.id, events_file, entries, false);
    if (!written.events) copy.bytes -= entries.size();
    written.record = disk_.end(copy, files, durable);
    if (!written.record && !files.empty()) {
      // One after the other: the small record may still fit where the result does not.
      written.result = disk_.write(copy.id, files, durable);
      if (!written.result) {
        copy.stored = false;
        copy.bytes -= size;
        leave_out_result(copy);
      }
      written.record = disk_.write_record(copy, durable);
    }
    written.bytes = copy.bytes;
    return written;
  };
  Written written = co_await pool_.run(std::move(work));
  run.bytes = written.bytes;
  live->end_place = std::move(written.place);
  if (!written.texts.empty()) {
    run.texts = std::move(written.texts);
    live->events.stay_in_memory();  // the last ones are on disk, too
    live->fresh.reset();
  }
  if (!written.result) {
    log::error("a result could not be stored", {{"run", run.id}, {"problem", written.result.error().detail}});
    run.stored = false;
    live->kept = *live->fresh;
    live->fresh.reset();
  } else if (live->fresh && bytes_of(*live->fresh) > max_fresh) {
    live->fresh.reset();
  }
  if (!written.events) events_not_stored(live, written.events.error());
  if (written.record)
    run.record_bytes = *written.record;
  else
    not_recorded(live, written.record.error());
  store_.put(run);
}

// Syncs what was written of a run and not synced in its folder: of one that only looks, and of one whose end is in
// `ends`. One thread at a time does it, for all that ended meanwhile: a sync takes long, and the others are for who waits.
asio::awaitable<void> Runner::settle(LivePtr live) {
  unsettled_.push_back({live->run.id, live->lasting, std::exchange(live->end_place, nullptr)});
  if (settling_) co_return;
  settling_ = true;
  const Defer done{[this] {
    settling_ = false;
    ended_.notify();
  }};
  while (!unsettled_.empty()) {
    auto work = [this, batch = std::exchange(unsettled_, {})] {
      for (const Unsettled& each : batch) {
        if (each.lasting && !each.place) {  // synced, for want of a place
          if (!disk_.low()) disk_.ends().prepare();
          continue;
        }
        const auto settled = disk_.settle(each.id);
        if (!settled)
          log::error("a run may not outlast a power cut", {{"run", each.id}, {"problem", settled.error().detail}});
        if (each.place) settled ? each.place->clear() : each.place->keep();
      }
    };
    co_await pool_.run(std::move(work));
  }
}

}  // namespace hatchd::runs
