// What the findings of a ping mean, in a sentence for a person. A pure function, so that its table is a test.
#pragma once

#include "queue/celery/results.hpp"
#include "queue/celery/transport.hpp"
#include "queue/celery/workers.hpp"

namespace queue::celery {

struct Findings {
  std::string broker;  // "redis", "amqp"
  std::string queue, task;
  Depth depth;                          // before the ping
  std::optional<long long> listeners;   // who heard the questions, where the broker says
  std::optional<bool> was_still_there;  // the task, when it was taken back
  std::string result_address;           // where the result is awaited, without secrets; "rpc"
  Outcome outcome;
  std::string worker;  // who answered; empty: unknown
  double round_trip_ms = 0, waited_s = 0;
  std::vector<TargetProcess> target;
};

struct Verdict {
  bool good = false;
  std::string sentence, hint;
};

Verdict judge(const Findings& findings, const Workers& workers);

}  // namespace queue::celery
