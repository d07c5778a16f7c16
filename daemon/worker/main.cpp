// hatchd-worker: the program behind `hatchd: targets`, `hatchd: plugin …` and the children that read manifests. It has
// no network code and no thread; which of them it is, its first message says.
#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <exception>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rights.hpp"
#include "link/channel.hpp"
#include "link/protocol.hpp"
#include "targets/targets.hpp"
#include "worker/freed.hpp"
#include "worker/serve.hpp"

namespace {

using namespace hatchd;

int run_role() {
  worker::wipes_freed = true;  // before the first message, which holds the secrets of profiles
  link::Channel supervisor{UniqueFd{link::control_fd}};
  link::Message setup;
  // Whoever started us has its message ready; the wait is for a machine under load.
  if (supervisor.wait(setup, 30'000) != link::Received::message || setup.type != "setup") return link::exit_parent_gone;
  const std::string role = text_of(setup.body, "role");
  if (role == "plugin") return worker::serve_plugin(supervisor, setup);
  if (role == "manifest") return worker::read_manifest(supervisor, setup);
  if (role == "manifests") return worker::read_manifests(supervisor, setup);
  if (role == "targets") return targets::serve(supervisor, setup);
  supervisor.send("failed", {{"problem", to_json(Problem{"internal", "hatchd-worker has no role " + role})}});
  return link::exit_setup;
}

}  // namespace

int main(int, char** argv) {
  rights::start_title(argv);
  if (argv[0]) rights::set_title(argv[0]);
  std::string_view name = argv[0] ? argv[0] : "hatchd-worker";
  if (name.starts_with("hatchd: ")) name.remove_prefix(8);
  log::start(name);
  // Ctrl-C and a terminal that closes concern the process that the person started; it tells us what to do.
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGQUIT, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  int status = link::exit_bug;
  try {
    status = run_role();
  } catch (const std::exception& error) {
    log::error("bug: an exception reached main", {{"what", error.what()}});
  }
  // Without the plugin's static destructors and atexit() functions: its code runs in runs, and nothing of it may hold
  // up the end of this process.
  std::fflush(nullptr);
  ::_exit(status);
}
