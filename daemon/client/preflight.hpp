// Would the hatches work here? Every hatch of every target is tried dry, and what is missing is put together, so that
// a unit or a pod is changed once.
#pragma once

#include <sys/types.h>
#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <vector>

#include "client/commands.hpp"

namespace hatchd::client {

// The daemon that was asked, as its socket and /proc show it; not over TCP, nor from another pid namespace.
struct Judge {
  pid_t pid = 0;
  uid_t uid = 0;
  std::vector<std::string> capabilities;  // permitted, as in capabilities(7); what it can hand to its processes
};

struct Finding {
  enum class Is {
    ready,
    not_ready,    // it would fail; `missing` and `remedy` say what to do
    not_allowed,  // the caller's role is too low to know
    off,          // not enabled
    untried,      // it takes parameters, or the daemon had no time for it
  } is = Is::untried;
  std::string target;  // empty: none
  std::string hatch, profile;
  std::string kind;  // of a hatch of several kinds, where no profile says it
  std::string detail, remedy, code;
  std::vector<std::string> missing;
  std::vector<std::string> capabilities;  // what the hatch declares, as in capabilities(7)
};

// What to change, each part once for all findings; empty: nothing of that kind helps.
struct Advice {
  std::string prompt;      // a command line
  std::string systemd;     // lines of a drop-in
  std::string kubernetes;  // a part of the pod's specification, YAML
  std::string kernel;      // command lines for sysctl
};
Advice advice_on(const std::vector<Finding>& findings);
// Whether the advice says all that there is to say about it: its own remedy would say it again.
bool is_advised(const Finding& finding);

// 0 nothing is in the way; 3 only rights or roles are; 1 something else is.
int exit_of(const std::vector<Finding>& findings);

// `wanted`: ids of hatches; empty: all of them.
int preflight(const Client& client, const std::vector<std::string>& wanted);

}  // namespace hatchd::client
