// Runs that are over and whose last record the disk refused. It says that they go on, which a restart of hatchd would
// take for a crash; so it is tried again, with longer and longer pauses, until there is room or hatchd stops.
#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>

#include "base/log.hpp"
#include "runs/runner.hpp"

namespace hatchd::runs {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t max_late = 128;  // what is not recorded at its start is not on disk at all, so these are few
constexpr std::chrono::milliseconds first_pause = 1s, longest_pause = 60s;

}  // namespace

// `stored`: whether all the rest of the run is on disk.
void Runner::write_later(const LivePtr& live, bool stored) {
  if (late_.size() >= max_late) return;
  late_[live->run.id] = {live, stored};
  if (!writing_late_) asio::co_spawn(executor_, write_late(), asio::detached);
}

asio::awaitable<void> Runner::write_late() {
  writing_late_ = true;
  std::chrono::milliseconds pause = first_pause;
  while (!late_.empty()) {
    late_timer_.expires_after(pause);
    boost::system::error_code ignored;  // time is up, or stop() wants a last attempt
    if (!stopping_) co_await late_timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    pause = std::min(2 * pause, longest_pause);
    // Each of them: one that can never be written, such as a folder that somebody took away, keeps no other back.
    const std::map<std::string, Late> refused = late_;
    for (const auto& [id, late] : refused) {
      if (store_.find(id)) {  // otherwise it was pruned meanwhile
        late.live->run.stored = late.stored;
        const auto written = co_await write_record(late.live, true);
        if (!written) {
          late.live->run.stored = false;
          continue;
        }
        store_.put(late.live->run);
        log::info("a run is recorded at last", {{"run", id}});
        pause = first_pause;
      }
      late_.erase(id);
    }
    if (stopping_) break;
  }
  writing_late_ = false;
  ended_.notify();
}

}  // namespace hatchd::runs
