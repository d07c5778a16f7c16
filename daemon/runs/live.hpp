// A run in memory: its record, its events, and whoever waits for it. It is `Live` while it runs and for a while after,
// so that followers can resume.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "link/outcome.hpp"
#include "runs/async.hpp"
#include "runs/disk.hpp"
#include "runs/follow.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

class PluginLink;

struct Live {
  explicit Live(asio::any_io_executor executor) : changed(executor), disk_free(std::move(executor)) {}

  Run run;
  Events events;
  Signal changed;          // state, events, and everything below
  bool over = false;       // the last state is recorded; nothing changes any more
  bool preflight = false;  // a dry run: never stored, never listed
  // It acts, or has a key: what it leaves outlasts a power cut before anybody hears of it. What only looks can be asked
  // again: it is written first and synced when its caller has the answer (settle()).
  bool lasting = false;

  // While it runs: what the plugin's process said about it, and the way to it.
  bool cancel_asked = false;
  bool looks_first = false;  // it is begun before it is on record, and acts when it is told that it is
  std::optional<link::Message> started, refused, ended;
  std::shared_ptr<PluginLink> link;   // set when `start` was sent
  std::shared_ptr<Receiver> channel;  // the run's own
  bool channel_over = true;           // nobody reads it
  bool decided = false;               // it said how it went: the rest is its process's end, which nobody waits for
  link::Outcome outcome;              // touched by one coroutine at a time, see conduct.cpp
  SteadyTime deadline{}, begun{};

  bool folder = true;  // false: it is not on disk and will not be: too little room, or the disk refused it

  // Record and events are each written by one thread of the pool at a time, so that the last state is written last.
  bool writing_record = false, writing_events = false;
  Signal disk_free;             // one of them became false
  bool lasts = false;           // what it tells is written as it comes
  bool events_on_disk = false;  // there is a file of them

  std::shared_ptr<Ends::Place> end_place;  // where its end is synced, until it is in its folder

  // No room for an artifact: a run that fails then has failed for that.
  bool no_space = false;
  bool stopped_for_space = false;  // we asked it to end, since it was filling the disk

  // Result and renderings of a run that the disk refused, by file name. The record on disk does not know of them.
  Files kept;
  // The same until the disk took them, and after that where they are small: its caller is about to ask for them.
  std::shared_ptr<const Files> fresh;

  // Until it is known whether there is a folder for the run: `folder` and `run.stored` say so.
  asio::awaitable<void> on_disk() {
    while (writing_record) co_await disk_free.wait();
  }

  void move(State to);  // checks the table of moves; a move that is not in it is a bug
  void tell_state();    // as an event
};

using LivePtr = std::shared_ptr<Live>;

}  // namespace hatchd::runs
