// The caller of one run in the foreground: shows what it says, keeps its artifacts, passes Ctrl-C on.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "link/channel.hpp"
#include "link/outcome.hpp"

namespace hatchd::worker {

class Caller {
 public:
  struct Shown {
    std::string run, hatch;
    boost::json::object params;  // masked
    bool json = false;
    std::string more_rights{};  // the command line that gives the run more rights; empty: there is none
  };

  // `front`: the channel to the plugin process; none when the hatch runs in the process that called us.
  Caller(Shown shown, link::Channel run, link::Channel front, pid_t plugin_process);
  ~Caller();

  // The terminal of an interactive hatch.
  void relay(UniqueFd stream);
  // Until the run ended; prints it and says the exit status.
  int follow();

 private:
  struct Artifact {
    std::string name, media_type, path;
    bool committed = false;
    std::int64_t bytes = 0;
  };

  void wait();
  void read_run();
  void read_front();
  void read_signal();
  void relay_once(bool typed, bool said);
  void show_event(const boost::json::object& event);
  void clear_progress();
  void open_artifact(const boost::json::object& request);
  void commit_artifact(const boost::json::object& request);
  int print();
  boost::json::object run_json();

  Shown shown_;
  link::Channel run_, front_;
  pid_t plugin_process_;
  UniqueFd signals_, stream_;
  bool typing_ = false;
  link::Outcome outcome_;
  std::optional<Problem> refused_;
  boost::json::object target_;
  std::map<std::int64_t, Artifact> artifacts_;  // by tag
  int interrupts_ = 0;
  bool terminal_, progress_shown_ = false;
  WallTime began_ = std::chrono::system_clock::now();
};

}  // namespace hatchd::worker
