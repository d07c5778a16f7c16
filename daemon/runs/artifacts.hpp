// The files that a run produces: opened here, written by the run through a descriptor, synced and hashed at commit, and
// only then in the record.
#pragma once

#include <map>
#include <memory>

#include "runs/disk.hpp"
#include "runs/live.hpp"

namespace hatchd::runs {

class Artifacts {
 public:
  static constexpr std::size_t max_open = 16;
  static constexpr std::size_t max_count = 64;  // of one run

  Artifacts(const Disk& disk, Pool& pool) : disk_(disk), pool_(pool) {}

  // `artifact`, `commit`, `abort` of the run channel; answers on it. False: another message.
  asio::awaitable<bool> take(const LivePtr& live, const link::Message& message);
  // At the end of the run: what was not committed is aborted.
  asio::awaitable<void> finish(std::string run);

 private:
  struct Open {
    Artifact artifact;
    std::shared_ptr<UniqueFd> reader;  // shared with the thread that hashes
  };
  asio::awaitable<Result<UniqueFd>> open(const LivePtr& live, std::int64_t tag, const boost::json::object& ask);
  asio::awaitable<Result<void>> commit(const LivePtr& live, std::int64_t tag);
  asio::awaitable<void> abort(std::string run, std::int64_t tag);

  const Disk& disk_;
  Pool& pool_;
  std::map<std::string, std::map<std::int64_t, Open>> open_;  // run → tag → file
  std::map<std::string, unsigned> numbers_;
};

}  // namespace hatchd::runs
