#include "targets/target.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <cerrno>
#include <tuple>
#include <utility>

#include "base/fd.hpp"
#include "base/rights.hpp"

namespace hatchd::targets {

namespace json = boost::json;

namespace {

using std::chrono::milliseconds;

// New workers of a server, and a second process that fits, are seen after this time; a restart at once.
constexpr milliseconds set_lasts{2000};
constexpr milliseconds between_looks{200};
constexpr std::size_t max_candidates = 16;

// What may keep a process out of sight that is there for all that: the ways in which a service or a container is shut in.
void add_fences(Problem& problem) {
  // With hidepid=1 or 2 (proc(5)) the processes of others are not to be seen, the first of all among them.
  if (::access("/proc/1/stat", R_OK) != 0) {
    problem.detail += " /proc is mounted with hidepid, so hatchd sees its own user's processes only.";
    problem.missing = {"CAP_SYS_PTRACE, or a /proc without hidepid"};
    problem.remedy =
        "systemd: AmbientCapabilities=CAP_SYS_PTRACE, or ProtectProc=default, in hatchd's unit; or mount -o "
        "remount,hidepid=0 /proc";
  }
  constexpr ino_t first_pid_namespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO, include/linux/proc_ns.h
  struct stat info {};
  if (problem.remedy.empty() && ::stat("/proc/self/ns/pid", &info) == 0 && info.st_ino != first_pid_namespace)
    problem.remedy =
        "start the target; if it runs in another container, share its pid namespace with hatchd's (Kubernetes: "
        "shareProcessNamespace: true; docker run --pid=container:NAME)";
}

}  // namespace

Problem lacking(std::string detail, std::vector<std::string> capabilities, std::optional<uid_t> uid) {
  Problem problem{rights_missing, std::move(detail)};
  const std::vector<std::string> had = rights::capabilities();
  std::string systemd, kubernetes, missing;
  for (std::string name : capabilities) {
    const bool lacks = std::find(had.begin(), had.end(), name) == had.end();
    for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (lacks) missing += (missing.empty() ? "CAP_" : " and CAP_") + name;
    systemd += " CAP_" + name;
    kubernetes += (kubernetes.empty() ? "" : ", ") + name;
  }
  const std::string number = uid ? std::to_string(*uid) : "UID";
  // As hatch/access.hpp writes it: one need, and what else would do.
  problem.missing.push_back(missing + (missing.empty() ? "" : ", or ") +
                            (uid ? "the user id " + number : "the target's user"));
  problem.remedy =
      "Give hatchd the capabilities (systemd: AmbientCapabilities=" + systemd.substr(1) +
      "; Kubernetes: securityContext.capabilities.add: [" + kubernetes +
      "] with runAsUser: 0), or let it run as the target's user (systemd: User=; Kubernetes: runAsUser: " + number +
      ").";
  return problem;
}

Target::Target(std::string name, json::object match, bool privileged)
    : name_(std::move(name)), match_(std::move(match)), gone_since_(std::chrono::system_clock::now()) {
  context_.privileged = privileged;
  const std::string place = "targets." + name_;
  const Matcher* matcher = matcher_of(match_);
  const json::value* user = match_.if_contains("user");
  if (!matcher) {
    problem_ = {targets::gone, place + " must have exactly one of: " + matcher_names()};
  } else if (!user && privileged && matcher->imitable) {
    problem_ = {targets::gone, place + " lacks the key \"user\": anybody can start a process that fits \"" +
                                   std::string(matcher->key) + "\", and hatchd has capabilities over everybody's"};
    problem_.remedy = "Add \"user\": the name of the user whom the target runs as.";
  } else if (user && !(context_.user = uid_of(*user))) {
    problem_ = {targets::gone, place + ".user: there is no such user"};
    problem_.remedy = "Name an existing user, or give the number where users come from a directory service.";
  } else if (auto made = matcher->make(match_.at(matcher->key), context_)) {
    finder_ = std::move(*made);
    problem_ = {targets::gone, "no " + finder_->what() + " was found yet"};
  } else {
    problem_ = {targets::gone, place + "." + std::string(matcher->key) + " " + made.error().detail};
  }
}

Target::State Target::state() const {
  if (!held_.empty()) return State::up;
  return ambiguous_ ? State::ambiguous : State::gone;
}

bool Target::due(SteadyTime now) const {
  if (!finder_) return false;
  if (!looked_) return true;
  const auto age = now - *looked_;
  if (age < between_looks) return false;
  if (held_.empty() || !held_.front().process.alive()) return true;
  // A number means the same process until that ends.
  return age >= set_lasts && !match_.contains("pid");
}

std::optional<Search> Target::search(SteadyTime now) {
  looked_ = now;
  auto only = finder_->begin();
  if (!only) {
    gone(std::move(only.error()));
    return std::nullopt;
  }
  return Search{finder_.get(), context_.user, *only};
}

void Target::found(Search search) {
  std::vector<Seen>& seen = search.seen;
  ambiguous_ = false;
  if (seen.empty()) {
    Problem problem = finder_->doubt().value_or(Problem{targets::gone, "no " + finder_->what()});
    if (problem.code == rights_missing)
      problem = lacking(problem.detail, {"sys_ptrace", "dac_read_search"}, std::nullopt);
    if (search.of_others > 0)
      problem = {targets::gone, "no " + finder_->what() + " belongs to the user that the target names; " +
                                    std::to_string(search.of_others) + " of other users fit"};
    return gone(std::move(problem));
  }
  std::size_t main = 0;
  if (finder_->shape() == Shape::group) {
    order_group(seen);
  } else {
    const auto root = finder_->shape() == Shape::tree ? root_of(seen) : std::nullopt;
    if (!root && seen.size() > 1) {
      held_.clear();
      counted_ = 0;
      ambiguous_ = was_up_ = true;
      problem_ = {"target-ambiguous", std::to_string(seen.size()) + " processes fit targets." + name_ +
                                          ", which means one " + finder_->what()};
      problem_.remedy = "Make targets." + name_ + " narrower, by \"pidfile\", \"unit\" or \"port\" for instance.";
      for (std::size_t i = 0; i < seen.size() && i < max_candidates; ++i)
        problem_.candidates.push_back(describe(seen[i]));
      return;
    }
    main = root.value_or(0);
    std::sort(seen.begin(), seen.end(), [pid = seen[main].pid](const Seen& a, const Seen& b) {
      return std::tuple(a.pid != pid, a.started_ticks, a.pid) < std::tuple(b.pid != pid, b.started_ticks, b.pid);
    });
  }
  hold(seen);
}

void Target::hold(const std::vector<Seen>& seen) {
  std::vector<Held> now;
  int error = 0;
  for (const Seen& one : seen) {
    if (now.size() >= max_processes) break;
    // What is held already stays, with what is known of it.
    const auto known = std::find_if(held_.begin(), held_.end(), [&](const Held& held) {
      return held.process.pid() == one.pid && held.process.started_ticks() == one.started_ticks;
    });
    if (known != held_.end()) {
      now.push_back(std::move(*known));
      held_.erase(known);
    } else if (auto process = Process::open(one.pid, one.started_ticks)) {
      now.push_back(Held{std::move(*process)});
    } else if (errno != ESRCH) {
      error = errno;
    }
    if (now.empty() && error != 0) break;  // without the main process there is no target
  }
  if (now.empty() && error != 0) {
    Problem problem =
        lacking("the " + finder_->what() + " cannot be opened: " + errno_text(error), {"sys_ptrace"}, std::nullopt);
    if (error != EACCES && error != EPERM) problem = {targets::gone, problem.detail};
    return gone(std::move(problem));
  }
  if (now.empty()) return gone({targets::gone, "the " + finder_->what() + " has just ended"});
  held_ = std::move(now);
  counted_ = seen.size();
  was_up_ = true;
}

void Target::gone(Problem problem) {
  held_.clear();
  counted_ = 0;
  ambiguous_ = false;
  if (std::exchange(was_up_, false)) gone_since_ = std::chrono::system_clock::now();
  problem_ = std::move(problem);
  if (problem_.code != targets::gone) return;
  problem_.detail += " (gone since " + rfc3339(gone_since_) + ").";
  add_fences(problem_);
  if (problem_.remedy.empty())
    problem_.remedy =
        "Start the target, or change targets." + name_ + " in the configuration; it is looked for at every request.";
}

std::vector<Held*> Target::living() {
  if (!held_.empty() && !held_.front().process.alive()) gone({targets::gone, "the " + finder_->what() + " has ended"});
  std::vector<Held*> living;
  for (Held& held : held_)
    if (held.process.alive()) living.push_back(&held);
  return living;
}

}  // namespace hatchd::targets
