// The files that a run produces: opened here, written by the run through a descriptor, hashed while they grow, synced at
// commit, and only then in the record. None of it passes through memory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "runs/disk.hpp"
#include "runs/live.hpp"

namespace hatchd::runs {

class Artifacts {
 public:
  static constexpr std::size_t max_open = 16;
  static constexpr std::size_t max_count = 64;  // of one run

  // `record` writes the run's record, durably.
  using Record = std::function<asio::awaitable<Result<void>>(LivePtr)>;
  Artifacts(const Disk& disk, Pool& pool, Record record) : disk_(disk), pool_(pool), record_(std::move(record)) {}

  // `artifact`, `commit`, `abort` of the run channel; answers on it. False: another message.
  asio::awaitable<bool> take(const LivePtr& live, const link::Message& message);
  // While the run writes: hashes what has come, and asks the run to end when it fills the disk.
  asio::awaitable<void> watch(LivePtr live);
  bool any_open(const std::string& run) const;
  // At the end of the run: what was not committed is aborted.
  asio::awaitable<void> finish(std::string run);

 private:
  // A file that is being written. `lock`: what the pool's threads do with it, they do one after the other.
  struct File {
    Artifact artifact;
    // The same open file description as the run's: its O_APPEND says that the run only appends, so that what was hashed
    // stays as it is. Files that are written here and there are hashed at commit.
    UniqueFd writer;
    UniqueFd reader;
    std::mutex lock;
    Seal seal;
    bool followed = false;

    bool appends() const;
    void follow();
    Result<void> close();
  };
  using FilePtr = std::shared_ptr<File>;

  asio::awaitable<Result<UniqueFd>> open(const LivePtr& live, std::int64_t tag, const boost::json::object& ask);
  asio::awaitable<Result<void>> commit(const LivePtr& live, std::int64_t tag);
  asio::awaitable<void> abort(const LivePtr& live, std::int64_t tag);

  const Disk& disk_;
  Pool& pool_;
  Record record_;
  std::map<std::string, std::map<std::int64_t, FilePtr>> open_;  // run → tag → file
  std::map<std::string, unsigned> numbers_;
};

}  // namespace hatchd::runs
