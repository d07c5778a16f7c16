// A shared object that was opened, looked at and found to keep the contract of hatch/hatch.h.
//
// The same code serves the throw-away child that reads manifests, the start of a plugin process and `hatchd check
// --plugin`. It runs foreign code (constructors, the entry) and reads foreign pointers, so it belongs into a child
// process that may crash or hang; whoever started that child waits with a limit. Everything else is checked here, and
// every fault is listed with its place, not only the first.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.hpp"
#include "hatch/hatch.h"

namespace hatchd::worker {

struct Hatch {
  hatch_hatch description{};  // zero-extended copy: what the plugin's struct does not have is 0
  std::string id, kind;       // kind: empty when it has none
  boost::json::object parameters;
  std::vector<std::string> capabilities;

  // How setup names it: "ID" or "ID kind".
  std::string key() const { return kind.empty() ? id : id + ' ' + kind; }
  bool has_flag(std::uint32_t flag) const { return (description.flags & flag) != 0; }
  // Whether it names this extension among its requirements.
  bool needs(std::string_view extension) const;
};

class Plugin {
 public:
  // Opens the object behind descriptor `fd`; the process must be dumpable for that, since it goes through
  // /proc/self/fd. `plugin-broken` with what is wrong; the object stays loaded for the life of the process.
  static Result<Plugin> open(int fd);
  static Result<Plugin> open(const std::string& path);

  const std::string& name() const { return name_; }
  const std::vector<Hatch>& hatches() const { return hatches_; }
  const Hatch* find(std::string_view key) const;
  // Everything that any of its hatches declares, sorted.
  std::vector<std::string> capabilities() const;
  // MANIFEST of link/protocol.hpp.
  boost::json::object manifest() const;
  // Calls the plugin's prepare(), if it has one, the first time. False: it started a thread, so this process must not
  // fork any more. One that takes longer than 5 s ends the process.
  bool prepare();

 private:
  std::string name_, version_, summary_;
  boost::json::object configuration_, profile_;
  bool has_configuration_ = false, has_profile_ = false;
  std::vector<Hatch> hatches_;
  void (*prepare_)() = nullptr;

  friend class Reader;
};

}  // namespace hatchd::worker
