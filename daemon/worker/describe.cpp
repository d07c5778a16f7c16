#include "worker/describe.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <boost/json.hpp>

#include "base/json.hpp"
#include "link/outcome.hpp"
#include "supervisor/spawn.hpp"

namespace hatchd::worker {

namespace json = boost::json;

Result<json::object> describe(const std::string& worker_program, int object) {
  auto child = supervisor::spawn(worker_program, "hatchd: manifest");
  if (!child) return tl::unexpected<Problem>(child.error());
  child->channel.send("setup", {{"role", "manifest"}, {"rights", {{"capabilities", json::array{}}}}}, {&object, 1});
  link::Message answer;
  const auto patience = std::chrono::milliseconds(describe_patience).count();
  const link::Received received = child->channel.wait(answer, static_cast<int>(patience));
  // It has said what it had to say, or never will.
  if (received != link::Received::ended) ::kill(child->pid, SIGKILL);
  int status = 0;
  ::waitpid(child->pid, &status, 0);

  if (received == link::Received::message && answer.type == "manifest") {
    answer.body.erase("type");
    return std::move(answer.body);
  }
  const json::object* problem = object_of(answer.body, "problem");
  if (received == link::Received::message && problem) return tl::unexpected<Problem>(problem_from_json(*problem));
  if (received == link::Received::nothing)
    return refuse("plugin-broken",
                  "it hangs: it did not describe itself within " + std::to_string(describe_patience.count()) + " s",
                  "look at what its constructors, static initialisers and hatch_plugin_entry() wait for");
  const std::string death = WIFSIGNALED(status) ? link::death_text("signal", WTERMSIG(status))
                                                : link::death_text("exit", WEXITSTATUS(status));
  return refuse(
      "plugin-broken", "it crashed while it was opened: " + death,
      "look at its constructors, static initialisers and hatch_plugin_entry(), or at the descriptions it returns");
}

}  // namespace hatchd::worker
