// What the workers say of themselves on the control channel.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hatch/json.hpp"
#include "queue/frame/report.hpp"
#include "queue/frame/target.hpp"

namespace queue::celery {

struct Running {
  std::string id, task;
  long long pid = 0;
  double seconds = 0;  // since when, as far as the clocks agree
};

struct Worker {
  std::set<std::string> answered;  // of `questions`
  long long pid = 0;
  std::string pool;  // "prefork", "threads", "solo", …
  long long slots = 0;
  bool runs_ping = false;  // it was running the ping's own task when it was asked
  std::vector<long long> children;
  std::vector<Running> running;
  std::vector<std::string> queues;
  std::map<std::string, long long> totals;  // tasks it has accepted, by name

  bool consumes(const std::string& queue) const;
  bool busy() const { return slots > 0 && static_cast<long long>(running.size()) >= slots; }
};

// The first is asked before the task is sent, so it is the one that costs a worker least. Celery's own "ping" tells
// nothing that an answer to these does not.
inline constexpr const char* questions[] = {"active_queues", "stats", "active"};

class Workers {
 public:
  static constexpr std::size_t max_workers = 1000, max_list = 1000;

  // The ping's own task, which is no reason to call a worker busy.
  void leave_out(const std::string& task_id) { own_task_ = task_id; }
  // An answer {"w1@host": …} to the question `method`.
  void take(const std::string& method, const boost::json::object& answer);

  const std::map<std::string, Worker>& all() const { return workers_; }
  // How many of them have answered all that was asked.
  long long complete() const;
  // How many of those that have answered everything consume the queue.
  long long consumers(const std::string& queue) const;
  bool knows_queues() const;
  // As if nobody had answered this question yet, so that it can be asked again.
  void forget(const std::string& method);

  // The member workers[] of the result.
  hatch::Array json(const Report& report, const std::vector<TargetProcess>& target, const std::string& queue) const;

 private:
  std::map<std::string, Worker> workers_;
  std::string own_task_;
};

}  // namespace queue::celery
