// Keeps what the targets' apps say that they can do. Asked when somebody looks at the catalogue or runs such a hatch, by a
// dry run of the family's hatch in its plugin's process: never by a clock, so it costs nothing while nobody looks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "catalogue/catalogue.hpp"
#include "catalogue/members.hpp"
#include "runs/runner.hpp"

namespace hatchd::api {

class Members {
 public:
  Members(runs::asio::any_io_executor executor, runs::Runner& runner, runs::Pool& pool)
      : executor_(executor), runner_(runner), pool_(pool), changed_(executor) {}

  // What the configuration says, at start and at a reload; what is known is asked for again.
  void use(catalogue::Settings settings);

  // The catalogue with the members of these targets. Those whose last answer is older than two seconds are asked again;
  // the answers are waited for no longer than `patience` allows, and what did not answer stands there as it was, stale.
  runs::asio::awaitable<std::shared_ptr<const catalogue::Catalogue>> look(
      std::shared_ptr<const catalogue::Catalogue> base, std::vector<std::string> targets);

 private:
  using Key = std::pair<std::string, std::string>;  // id of the family, target
  struct Known {
    boost::json::array described;
    std::string stale;  // why the last question was not answered
    SteadyTime asked{};
    bool asking = false, answered = false;
  };
  runs::asio::awaitable<void> ask(std::shared_ptr<const catalogue::Hatch> family, std::string target);
  void forget_others(const std::vector<std::string>& targets);

  runs::asio::any_io_executor executor_;
  runs::Runner& runner_;
  runs::Pool& pool_;
  runs::Signal changed_;
  catalogue::Settings settings_;
  std::map<Key, Known> known_;
};

}  // namespace hatchd::api
