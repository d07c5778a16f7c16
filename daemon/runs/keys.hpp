// Idempotency keys: which run a caller's key stands for, so that a retry gets that run and nothing is done twice. A key
// belongs to its caller, hatch and target, and lives for a day: by a clock that nobody sets, and across a restart by the
// wall clock, for which a time that is yet to come is now. On disk before its run starts, in a journal beside the runs; what
// it holds are digests, never a key or a parameter.
//
// The table is the event loop's. write() is the pool's.
#pragma once

#include <boost/json/object.hpp>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "runs/disk.hpp"

namespace hatchd::runs {

class Keys {
 public:
  static constexpr std::size_t max_count = 10'000, max_of_caller = 2'500, max_length = 255;
  static constexpr std::chrono::hours lifetime{24};

  // What a request claims: the key in its scope, and the parameters that it stands for.
  struct Key {
    std::string caller;  // digests, as all that follows
    std::string scope;
    std::string params;
  };
  static Key make(const std::string& caller, const std::string& hatch, const std::string& target,
                  const std::string& key, const boost::json::object& params);

  explicit Keys(const Disk& disk) : disk_(disk) {}

  // At start: reads what is on disk, cuts a torn tail, drops what is too old. Blocks.
  void load(WallTime now, SteadyTime steady);

  // The first run of the key, nullopt when there is none yet; idempotency-mismatch when it stands for other parameters.
  Result<std::optional<std::string>> first(const Key& key, SteadyTime now);
  // Too many keys are alive: seconds until there is room again.
  std::optional<unsigned> full(const Key& key, SteadyTime now);
  // From here on the key stands for this run.
  void claim(const Key& key, const std::string& run, SteadyTime now);
  // The run did not start after all.
  void release(const Key& key, const std::string& run);

  // Of a key that was claimed just now. Durable on return. Blocks; any thread.
  Result<void> write(const Key& key, const std::string& run, WallTime now);

  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string caller, run, params;
  };
  struct Age {
    SteadyTime ends;
    std::string run, scope;
  };
  struct Line {
    SteadyTime ends;
    std::string text;
  };
  void expire(SteadyTime now);
  static std::string line(const std::string& scope, const Entry& entry, WallTime claimed);

  const Disk& disk_;
  std::map<std::string, Entry> entries_;  // by scope
  std::deque<Age> ages_;                  // the first to end first
  std::map<std::string, std::size_t> of_caller_;

  std::mutex file_;         // guards what follows, and the file
  std::deque<Line> lines_;  // what the file holds
};

}  // namespace hatchd::runs
