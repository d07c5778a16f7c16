// `hatchd exec` and `hatchd check --plugin`: one run, or one look, in the foreground and without a daemon.
//
// exec plays supervisor and front at once: it starts `hatchd: targets` and the plugin's process from hatchd-worker,
// asks for one run and follows it. There is one way for a run to happen, so what works here works in the daemon. It has
// the rights of the person who calls it and never more: a hatchd whose rights come from its file refuses.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace hatchd::worker {

struct ExecOptions {
  std::string hatch;                    // "group.verb" or "group.verb kind"
  std::optional<int> pid;               // of the target
  std::vector<std::string> parameters;  // "key=value", converted by the hatch's schema
  bool json = false;                    // the run as JSON instead of its text
  std::string plugin;                   // try this object; empty: look into the directories
  bool in_process = false;              // call the hatch in this very process, for a debugger
  std::vector<std::string> plugin_directories;
};

// Exit statuses: 0 succeeded, 1 failed, 2 usage, 3 not allowed.
int exec_command(const ExecOptions& options);

// Opens `file` in a child without rights and prints what it brings, or everything that is wrong with it. 0 or 1.
int check_plugin_command(const std::string& file);

}  // namespace hatchd::worker
