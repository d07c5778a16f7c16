// What a ping found out, in order, and the answer that becomes of it: the shared half of every kind of queue.ping.
//
//   report.begin("connect");  …  report.good("127.0.0.1:6379");     a step; its time is taken
//   throw Trouble(…) within a step: fail() closes it as bad and makes the failure of all that was found
//
// Whatever a broker or a worker said goes through clean(): bounded, without the secrets that this run knows and without
// control characters.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "hatch/hatch.hpp"
#include "hatch/network.hpp"
#include "queue/frame/trouble.hpp"

namespace queue {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

double ms_between(Time from, Time to);

class Report {
 public:
  explicit Report(hatch::Run& run, hatch::Network network = hatch::Network::own);

  // A text that must never be seen; short ones would mask half of every sentence and are no secrets.
  void secret(std::string_view text);
  std::string clean(std::string_view text, std::size_t max = 500) const;

  void begin(std::string name);
  void good(std::string detail = {});
  void bad(std::string detail);
  // A step of which the time is known already.
  void step(std::string name, double ms, bool ok, std::string detail);
  // The open step's name; empty: none is open.
  const std::string& open() const { return open_; }

  // A member of the result; those of a name given before are replaced.
  template <class T>
  void add(const std::string& name, const T& value) {
    std::string json;
    hatch::detail::append_value(json, value);
    for (auto& [known, text] : members_)
      if (known == name) return void(text = std::move(json));
    members_.emplace_back(name, std::move(json));
  }

  hatch::Result result(std::string verdict, std::string hint = {}) const;
  [[noreturn]] void fail(std::string verdict, std::string hint = {});
  // Closes the open step as bad; its trouble is the verdict.
  [[noreturn]] void fail(const Trouble& trouble);

 private:
  struct Step {
    std::string name, detail;
    double ms;
    bool ok;
  };
  hatch::Run& run_;
  hatch::Network network_;
  std::vector<std::string> secrets_;
  std::vector<Step> steps_;
  std::vector<std::pair<std::string, std::string>> members_;  // name, JSON
  std::string open_;
  Time since_{};
};

// "5,210"
std::string grouped(long long number);
// "3 workers", "1 worker"
std::string counted(long long number, std::string_view noun);

}  // namespace queue
