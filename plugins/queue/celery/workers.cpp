#include "queue/celery/workers.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

namespace json = boost::json;

namespace queue::celery {
namespace {

long long number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (!value) return 0;
  if (value->is_int64()) return value->get_int64();
  return value->is_double() && value->get_double() > -9e15 && value->get_double() < 9e15
             ? static_cast<long long>(value->get_double())
             : 0;
}
double real(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return !value               ? 0
         : value->is_double() ? value->get_double()
         : value->is_int64()  ? static_cast<double>(value->get_int64())
                              : 0;
}
std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

// "celery.concurrency.prefork:TaskPool" → "prefork"
std::string pool_name(std::string implementation) {
  implementation = implementation.substr(0, implementation.find(':'));
  const std::size_t dot = implementation.rfind('.');
  std::string name = dot == implementation.npos ? implementation : implementation.substr(dot + 1);
  return name == "thread" ? "threads" : name;
}

void take_stats(Worker& worker, const json::object& stats) {
  worker.pid = number(stats, "pid");
  if (const json::value* pool = stats.if_contains("pool"); pool && pool->is_object()) {
    const json::object& object = pool->get_object();
    worker.slots = number(object, "max-concurrency");
    worker.pool = pool_name(text(object, "implementation"));
    // Celery 5.2 does not say; its pools tell themselves apart by what they count.
    if (worker.pool.empty())
      worker.pool = object.contains("threads") ? "threads" : object.contains("writes") ? "prefork" : "";
    worker.children.clear();
    if (const json::value* processes = object.if_contains("processes"); processes && processes->is_array())
      for (const json::value& pid : processes->get_array())
        if (pid.is_int64() && worker.children.size() < Workers::max_list) worker.children.push_back(pid.get_int64());
  }
  if (const json::value* totals = stats.if_contains("total"); totals && totals->is_object())
    for (const auto& [name, count] : totals->get_object())
      if (count.is_int64() && worker.totals.size() < Workers::max_list)
        worker.totals[std::string(name)] = count.get_int64();
}

void take_running(Worker& worker, const json::object& task) {
  Running running{text(task, "id"), text(task, "name"), number(task, "worker_pid"), 0};
  if (const double started = real(task, "time_start"); started > 0)
    running.seconds = std::max(
        0.0, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count() - started);
  worker.running.push_back(std::move(running));
}

}  // namespace

bool Worker::consumes(const std::string& queue) const {
  return std::find(queues.begin(), queues.end(), queue) != queues.end();
}

void Workers::take(const std::string& method, const json::object& answer) {
  if (std::find(std::begin(questions), std::end(questions), method) == std::end(questions)) return;
  for (const auto& [name, said] : answer) {
    if (workers_.size() >= max_workers && !workers_.contains(std::string(name))) return;
    Worker& worker = workers_[std::string(name)];
    worker.answered.insert(method);
    if (const json::object* object = said.if_object(); object && method == "stats") take_stats(worker, *object);
    const json::array* list = said.if_array();
    if (!list) continue;
    if (method == "active_queues") worker.queues.clear();
    if (method == "active") worker.running.clear(), worker.runs_ping = false;
    for (const json::value& entry : *list) {
      const json::object* one = entry.if_object();
      if (!one) continue;
      if (method == "active_queues" && worker.queues.size() < max_list) worker.queues.push_back(text(*one, "name"));
      if (method != "active" || worker.running.size() >= max_list) continue;
      if (text(*one, "id") == own_task_)
        worker.runs_ping = true;
      else
        take_running(worker, *one);
    }
  }
}

long long Workers::complete() const {
  return std::count_if(workers_.begin(), workers_.end(),
                       [](const auto& entry) { return entry.second.answered.size() == std::size(questions); });
}

long long Workers::consumers(const std::string& queue) const {
  return std::count_if(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.answered.size() == std::size(questions) && entry.second.consumes(queue);
  });
}

bool Workers::knows_queues() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& entry) { return entry.second.answered.contains("active_queues"); });
}

void Workers::forget(const std::string& method) {
  for (auto& [name, worker] : workers_) worker.answered.erase(method);
}

hatch::Array Workers::json(const Report& report, const std::vector<TargetProcess>& target,
                           const std::string& queue) const {
  hatch::Array list;
  for (const auto& [name, worker] : workers_) {
    hatch::Object entry;
    entry.add("name", report.clean(name, 256));
    if (worker.answered.contains("stats")) {
      entry.add("pid", worker.pid).add("slots", worker.slots);
      if (!worker.pool.empty()) entry.add("pool", report.clean(worker.pool, 64));
      hatch::Array children;
      for (const long long child : worker.children) children.add(child);
      if (!children.empty()) entry.add("processes", children);
      if (!target.empty()) {
        const TargetProcess* own = find_process(target, worker.pid);
        entry.add("in_target", own != nullptr);
        if (own) entry.add("process", own->pid).add("process_state", std::string(1, own->state));
      }
    }
    if (worker.answered.contains("active")) {
      entry.add("active", worker.running.size()).add("busy", worker.busy());
      hatch::Array running;
      for (std::size_t i = 0; i < worker.running.size() && i < 20; ++i) {
        const Running& one = worker.running[i];
        hatch::Object task;
        task.add("id", report.clean(one.id, 64)).add("task", report.clean(one.task, 256)).add("pid", one.pid);
        running.add(task.add("seconds", static_cast<long long>(one.seconds)));
      }
      if (!running.empty()) entry.add("running", running);
    }
    if (worker.answered.contains("active_queues")) {
      hatch::Array queues;
      for (std::size_t i = 0; i < worker.queues.size() && i < 100; ++i) queues.add(report.clean(worker.queues[i], 256));
      entry.add("queues", queues).add("consumes", worker.consumes(queue));
    }
    list.add(entry);
  }
  return list;
}

}  // namespace queue::celery
