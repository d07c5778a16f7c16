// Refused calls, counted by who makes them: the first of a kind is told at once, those that follow within a minute become
// one line with their number. So a flood from one source costs two lines a minute, and one from everywhere has a bound.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "audit/entry.hpp"
#include "base/clock.hpp"

namespace hatchd::audit {

struct Refusal {
  std::string source;  // access::source_of(): a uid, an address, an IPv6 network
  access::Caller caller;
  Origin origin;
  std::string code, method, path, hatch;
  unsigned status = 0;
};

class Refusals {
 public:
  static constexpr std::chrono::seconds window{60};
  static constexpr std::size_t max_kinds = 256;  // beyond that, what is new is counted together

  // Counts a refused call; its line when it is the first of its source, caller and code in this window.
  std::optional<boost::json::object> note(const Refusal& call, SteadyTime now);
  // Lines of those windows that are over. To be called now and then, while it is not empty.
  std::vector<boost::json::object> due(SteadyTime now);
  // Of all windows, at the end.
  std::vector<boost::json::object> rest() { return due(SteadyTime::max()); }
  bool empty() const { return counts_.empty(); }

 private:
  using Kind = std::tuple<std::string, std::string, std::string>;
  struct Count {
    SteadyTime since;
    std::uint64_t more = 0;   // behind the first
    std::string first, last;  // times of these
    Refusal call;             // the last
  };
  std::map<Kind, Count> counts_;
};

}  // namespace hatchd::audit
