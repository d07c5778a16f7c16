// The supervisor: starts hatchd's other processes, restarts them with back-off, ends them in order. It binds the
// listeners and reads the configuration, and parses nothing that comes from the network; what the front asks of it is a
// plugin's name.
#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

#include "config/config.hpp"
#include "supervisor/listeners.hpp"

namespace hatchd::supervisor {

struct Service {
  config::Config config;
  boost::json::object effective;    // what `config` was made from
  std::vector<uid_t> admin_uids;    // the human of zero configuration
  bool temporary = false;           // runs live in a folder that goes with us
  bool ends_with_terminal = false;  // SIGHUP ends instead of reloading
  std::string more_rights;          // the command that starts it with more rights; empty: it is a service
  // Reads the configuration again, for SIGHUP.
  std::function<config::Loaded()> load;
  // Called once, when the front serves.
  std::function<void(const std::vector<Listener>&)> announce;
};

// Serves until SIGTERM or SIGINT; returns the exit status: 0, 69 (cannot bind), 70, 78 (configuration).
int serve(Service service);

// How long to wait before the n-th restart in a row of a process that keeps ending (n from 0): 0.1 s doubled each
// time, at most 30 s. A process that served for a minute starts again at 0.
std::chrono::milliseconds back_off(unsigned failures);

}  // namespace hatchd::supervisor
