// The audit: who did what, as JSON lines in a file that rotates, refused calls in one of their own, and all of it to
// journald as well where that is there. A thread of its own writes, so that nobody else waits for the disk, and one
// fsync serves all lines that came meanwhile.
//
// When the file cannot be written, its lines wait in memory, within a bound, and are tried again every second; the owner
// asks writable() before it lets anything happen that must be recorded, and goes on by itself when the file is back.
#pragma once

#include <boost/json/object.hpp>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "audit/lines.hpp"
#include "base/clock.hpp"

namespace hatchd::audit {

class Audit {
 public:
  static constexpr std::size_t max_waiting = 8192;                   // lines
  static constexpr std::size_t max_waiting_bytes = 8 * 1024 * 1024;  // of them
  static constexpr std::size_t max_line = 64 * 1024;

  // `name`: of the file in `directory`; refused calls go to refused_name(name). `journal`: connect_journal()'s, or none.
  Audit(UniqueFd directory, std::string name, Bounds bounds, UniqueFd journal = {});
  ~Audit();  // finish()es
  Audit(const Audit&) = delete;

  // Opens the file and makes whole what a crash left: a torn line is cut off, and a run that began and did not end gets
  // its end. Blocks, so before start(). The audit of this moment on may be written even if this fails.
  struct Recovered {
    std::uint64_t cut = 0;      // bytes
    std::size_t completed = 0;  // runs
  };
  Result<Recovered> recover();

  // Starts the thread. `progress` is called on it whenever a fate() or writable() may have changed.
  void start(std::function<void()> progress);
  // Writes what waits, for at most that long, and ends the thread.
  void finish(std::chrono::milliseconds patience = std::chrono::milliseconds(2000));

  // Takes a line, without waiting. `durable`: it is synced with the batch that it is written in; others within a second.
  // The answer is a number for fate().
  std::uint64_t write(const boost::json::object& entry, bool durable);
  void write_refused(const boost::json::object& entry);

  enum class Fate { waiting, written, failed };
  Fate fate(std::uint64_t number) const;
  // Is the file fit for what must be recorded? False while the disk refuses, or does not answer, or is far behind.
  bool writable() const;
  // Why not, for the problem.
  std::string why() const;

  int directory() const { return directory_.get(); }
  const std::string& name() const { return name_; }

 private:
  static constexpr std::uint64_t refused = UINT64_MAX;  // the number of a line that found no room

  struct Waiting {
    std::uint64_t number = 0;
    std::string text;  // with its line break
    std::string datagram;
    bool durable = false, refused = false;
  };
  bool take(Waiting line);
  void work();
  void write_batch(std::unique_lock<std::mutex>& lock);

  UniqueFd directory_, journal_;
  std::string name_;
  const std::size_t max_batch_;
  Lines lines_, refused_;  // of the thread, once it runs
  std::function<void()> progress_;

  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Waiting> queue_;
  std::size_t queued_bytes_ = 0, in_flight_ = 0;       // with what the thread is writing; lines of that
  std::uint64_t last_ = 0, written_ = 0, failed_ = 0;  // numbers; what is at most written_ is written
  std::uint64_t lost_ = 0;                             // lines that found no room
  bool failing_ = false, stopping_ = false, ended_ = false, sync_due_ = false, journal_failed_ = false;
  std::string why_;
  SteadyTime busy_since_ = SteadyTime::max();  // the thread is at the disk
  std::thread thread_;
};

// "audit.jsonl" → "audit-refused.jsonl".
std::string refused_name(const std::string& name);

}  // namespace hatchd::audit
