// The index of all runs: what lists, filters and retention need to know about each, in memory; the records themselves
// stay on disk (disk.hpp), and history.hpp reads them back after a start. Used by the event loop alone, never blocks.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runs/disk.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

// How much history is kept (DESIGN section 6, "runs"). What is queued or running is never pruned.
struct Keep {
  std::uint64_t count = 200;  // for each hatch and target, so that a ping every minute cannot push out the incident
  std::uint64_t bytes = 2ull << 30;
  std::chrono::seconds age{30 * 24 * 3600};
  std::size_t total = 100'000;  // of the index: its bound in memory
};

struct Entry {
  std::string hatch, target;  // hatch "": its record cannot be read
  State state = State::queued;
  schema::Effect effect = schema::Effect::observe;
  access::Role role = access::Role::none;
  std::uint64_t bytes = 0;
  WallTime created{};
  std::uint64_t ended = 0;  // counts the ends that put() saw; 0: it did not see this one
};

class Store {
 public:
  explicit Store(Keep keep) : keep_(keep) {}
  // From the next prune() on.
  void keep(Keep keep) { keep_ = keep; }

  // Takes over a new or changed run. What one place keeps is counted by the order of the ends that are seen here, so that a
  // long run is not the first to go when it has ended at last.
  void put(const Run& run);
  const Entry* find(const std::string& id) const;
  void forget(const std::string& id);
  std::size_t size() const { return entries_.size(); }

  struct Query {
    std::string hatch, target;  // "": any
    std::optional<State> state;
    std::string after;  // the last id of the page before; "": from the newest
    std::size_t limit = 50;
    std::function<bool(const Entry&)> visible;  // may the caller read it?
  };
  struct Page {
    std::vector<std::string> ids;  // newest first
    std::string next;              // `after` of the next page; "": this is the last
    bool whole = true;             // false: it ends where a run is expected
  };
  Page list(const Query& query) const;

  // Runs that are on disk and not read yet, sorted by id. A list ends before the first of them, since what it is, nobody
  // knows yet; what is under way is never among them.
  void expect(std::vector<std::string> ids);
  bool expects(const std::string& id) const;
  bool expects_any() const { return !expected_.empty(); }
  std::vector<std::string> expected(std::size_t count) const;  // the newest of them
  void arrived(const std::string& id);                         // it was read, or is not there

  // Forgets what exceeds the bounds and names it, oldest first, so that its folder is removed. The order of making counts
  // and not the clock: what was made at a time that is yet to come is as old as the runs made around it. The run that
  // ended last stays, however large it is: its caller is about to read it.
  std::vector<std::string> prune(WallTime now);

 private:
  using Ids = std::set<std::pair<std::uint64_t, std::string>>;  // Entry::ended and id
  Keep keep_;
  std::map<std::string, Entry> entries_;                         // by id, which is by the order of making
  std::map<std::pair<std::string, std::string>, Ids> by_place_;  // hatch and target → ids of runs that are over
  std::uint64_t bytes_ = 0, ends_ = 0;
  std::string ended_last_;
  std::vector<std::string> expected_;  // the newest last
};

}  // namespace hatchd::runs
