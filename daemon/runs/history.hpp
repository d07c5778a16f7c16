// The runs of those who ran before us, read back after a start while the front answers already: with very many of them
// it takes a while, and somebody may need a stack dump now. Which folders there are is known from the first moment; what
// is in them comes the newest first, and before that what somebody asks for. A list stops at what is not read yet.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runs/async.hpp"
#include "runs/store.hpp"

namespace hatchd::runs {

class History {
 public:
  // Of what was read. Of what is unreadable the newest, and why that is.
  struct Counts {
    std::size_t runs = 0, interrupted = 0, unreadable = 0;
    std::string which, why;
  };

  History(asio::any_io_executor executor, Store& store, const Disk& disk, Pool& pool)
      : store_(store), disk_(disk), pool_(pool), moved_(std::move(executor)) {}

  // Which folders there are; before we make the first of our own, whose id is to sort behind them. Blocks.
  void look();
  // Reads them; each run is handed to `take`. Once.
  asio::awaitable<Counts> read(std::function<void(const Run&)> take);

  bool whole() const { return !store_.expects_any(); }
  // Until this run is read, if it is one of them.
  asio::awaitable<void> have(std::string id);
  // Until more is read, or `until`.
  asio::awaitable<void> more(SteadyTime until);

 private:
  Store& store_;
  const Disk& disk_;
  Pool& pool_;
  std::vector<std::string> wanted_;  // somebody waits for these
  Signal moved_;
};

// Tidies a folder and reads its run, nullopt when there was none. One that was under way is recorded as crashed, because
// whoever ran it is gone. What cannot be opened, or whose record cannot be read, stays for a person to look at, until
// retention reaches it: it is a run of no hatch, which is never shown. Blocks.
std::optional<Run> read_back(const Disk& disk, const std::string& id, History::Counts& counts);

}  // namespace hatchd::runs
