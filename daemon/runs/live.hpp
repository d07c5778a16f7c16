// A run in memory: its record, its events, and whoever waits for it. It is `Live` while it runs and for a while after,
// so that followers can resume.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "link/outcome.hpp"
#include "runs/async.hpp"
#include "runs/follow.hpp"
#include "runs/run.hpp"

namespace hatchd::runs {

class PluginLink;

struct Live {
  explicit Live(asio::any_io_executor executor) : changed(std::move(executor)) {}

  Run run;
  Events events;
  Signal changed;          // state, events, and everything below
  bool over = false;       // the last state is recorded; nothing changes any more
  bool preflight = false;  // a dry run: never stored, never listed

  // While it runs: what the plugin's process said about it, and the way to it.
  bool cancel_asked = false;
  std::optional<link::Message> started, refused, ended;
  std::shared_ptr<PluginLink> link;   // set when `start` was sent
  std::shared_ptr<Receiver> channel;  // the run's own
  bool channel_over = true;           // nobody reads it
  link::Outcome outcome;              // touched by one coroutine at a time, see runner.cpp
  SteadyTime deadline{}, begun{};

  bool folder = true;  // false: the disk refused even that, so nothing more is tried

  // Result and renderings of a run that the disk refused, by file name. The record on disk does not know of them.
  std::map<std::string, std::string> kept;

  void move(State to);  // checks the table of moves; a move that is not in it is a bug
};

using LivePtr = std::shared_ptr<Live>;

}  // namespace hatchd::runs
