// One way to find a target's processes. look.cpp walks /proc once for all finders that are due and asks each of them
// about each process; a finder answers from what it reads below that process's directory, so an answer is never about
// another process of the same number.
#pragma once

#include <sys/types.h>

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/problem.hpp"

namespace hatchd::targets {

// The words that fit into a Problem's code where a finder has one of its own.
inline constexpr const char* gone = "target-gone";
inline constexpr const char* rights_missing = "rights-missing";

// What a target is made of. `one`: a process. `tree`: a process, with its descendants where they match too (a server
// that forks workers). `group`: any number of processes.
enum class Shape { one, tree, group };

struct Context {
  std::optional<uid_t> user;  // "user" of the configuration
  bool privileged = false;    // hatchd can look into processes of others, so it must know whose it looks for
};

class Finder {
 public:
  virtual ~Finder() = default;

  virtual Shape shape() const = 0;
  // "process 123", "process that runs /usr/bin/x": what is looked for, for the person who reads that it is gone.
  virtual std::string what() const = 0;
  // Before each look: the one number worth asking about, or nullopt for all. A problem says why nothing can be found.
  virtual Result<std::optional<pid_t>> begin() { return std::optional<pid_t>{}; }
  virtual bool fits(pid_t pid, int directory) = 0;
  // Whether fits() has seen to Context::user in its own way.
  virtual bool sees_to_user() const { return false; }
  // After a look that found nothing: what fits() has learnt about why.
  virtual std::optional<Problem> doubt() const { return std::nullopt; }
};

using Made = Result<std::unique_ptr<Finder>>;  // its problem: what is wrong with the value, without the place

Made by_pid(const boost::json::value& value, const Context& context);
Made by_pidfile(const boost::json::value& value, const Context& context);
Made by_exe(const boost::json::value& value, const Context& context);
Made by_cmdline(const boost::json::value& value, const Context& context);
Made by_name(const boost::json::value& value, const Context& context);
Made by_port(const boost::json::value& value, const Context& context);
Made by_unit(const boost::json::value& value, const Context& context);
Made by_container(const boost::json::value& value, const Context& context);

struct Matcher {
  std::string_view key;
  Made (*make)(const boost::json::value&, const Context&);
  bool imitable;  // anybody can start a process that fits, so "user" is required where hatchd has capabilities
};

// The matcher that a target's configuration uses, or nullptr unless there is exactly one.
const Matcher* matcher_of(const boost::json::object& match);
// "pid, pidfile, …" for messages.
std::string matcher_names();
bool is_matcher(std::string_view key);

// A user's number, from a name or a number. Names come from /etc/passwd where the process may open no socket.
std::optional<uid_t> uid_of(const boost::json::value& user);

// A whole number of `least` to `most`, as a finder's value.
std::optional<std::int64_t> number_value(const boost::json::value& value, std::int64_t least, std::int64_t most);

// An absolute path without "..", as a finder's value.
Result<std::string> path_value(const boost::json::value& value);

}  // namespace hatchd::targets
