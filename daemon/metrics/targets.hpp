// What `hatchd: targets` says about each target, as metrics. A target may be many processes, which come and go; a series
// knows only the target, so each number says in its description how it stands for all of them.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "metrics/family.hpp"
#include "metrics/text.hpp"

namespace hatchd::metrics {

class Targets {
 public:
  Targets();

  // The latest look: TARGET objects of link/protocol.hpp, of all targets.
  void look(const boost::json::array& targets);
  // There was no answer: nothing is known now. CPU seconds go on later from where they were.
  void lose_sight();
  void write(Text& text) const;

 private:
  struct Cpu {
    double total = 0;
    std::string looked;                                          // when it was last looked at, RFC 3339; "": never
    std::map<std::pair<std::int64_t, std::int64_t>, double> of;  // the living, by pid and start
  };
  void look_at(const std::string& name, const boost::json::array& processes, const std::string& now);
  double count_cpu(Cpu& cpu, const boost::json::array& processes, const std::string& now);

  Reals up_, cpu_, memory_, threads_, open_fds_, max_fds_, started_;
  std::map<std::string, Cpu> cpus_;
};

}  // namespace hatchd::metrics
