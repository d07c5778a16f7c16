#include "queue/celery/verdict.hpp"

#include <algorithm>
#include <cstdio>

namespace queue::celery {
namespace {

std::string milliseconds(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 10 ? "%.1f ms" : "%.0f ms", ms);
  return text;
}

std::string joined(const std::vector<std::string>& words, std::size_t max = 5) {
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < max; ++i) text += (i ? ", " : "") + words[i];
  return words.size() > max ? text + ", …" : text;
}

std::string queue_of(const Findings& found) { return "queue `" + found.queue + "`"; }

std::string messages(const Findings& found) {
  return found.depth.messages == 0 ? "no message" : counted(found.depth.messages, "message");
}

Verdict answered(const Findings& found) {
  const Outcome& outcome = found.outcome;
  const std::string who = found.worker.empty() ? "a worker" : "worker " + found.worker;
  if (outcome.status == "SUCCESS")
    return {true, who + " answered through " + queue_of(found) + " in " + milliseconds(found.round_trip_ms), ""};
  if (outcome.status == "REVOKED")
    return {false, "a worker took the ping from " + queue_of(found) + " and revoked it as expired",
            "it waited too long, or the worker's clock is ahead of ours: compare them, and raise \"timeout\" of the "
            "profile"};
  std::string sentence = who + " took the task " + found.task + " from " + queue_of(found) + ", and it ";
  if (outcome.status != "FAILURE") return {false, sentence + "ended as " + outcome.status, ""};
  sentence += "failed: " + outcome.exception + (outcome.message.empty() ? "" : ": " + outcome.message);
  if (outcome.exception == "NotRegistered")
    return {false, sentence, "the worker does not know this task: it runs an older release, or does not import it"};
  return {false, sentence, "broker, queue, worker and result back end work; the task itself does not"};
}

// Consumers, but nobody says a word: stopped, stuck, or told not to answer.
Verdict silent(const Findings& found, long long listening) {
  std::string sentence = "broker up, " + queue_of(found) + " has " + messages(found) + " and " +
                         counted(listening, found.broker == "redis" ? "listening worker" : "consumer") +
                         ", but no worker answers: neither the ping nor the control channel within " +
                         milliseconds(found.waited_s * 1000);
  std::string stopped;
  for (const TargetProcess& process : found.target)
    if (process.state == 'T' || process.state == 't')
      stopped += (stopped.empty() ? "" : ", ") + std::to_string(process.pid);
  if (!stopped.empty())
    return {false, sentence + "; process " + stopped + " of the target is stopped",
            "kill -CONT " + stopped + " lets it go on; find out who stopped it"};
  return {false, sentence,
          "its processes are stopped or stuck, or a solo pool is busy: stack.dump shows what they do (with "
          "target=NAME a stopped process is named here)"};
}

Verdict unanswered(const Findings& found, const Workers& workers) {
  std::vector<std::string> consuming, elsewhere, busy, running_ping;
  long long running = 0, slots = 0;
  std::string longest;
  double seconds = -1;
  for (const auto& [name, worker] : workers.all()) {
    if (worker.runs_ping) running_ping.push_back(name);
    if (!worker.answered.contains("active_queues")) continue;
    if (!worker.consumes(found.queue)) {
      elsewhere.insert(elsewhere.end(), worker.queues.begin(), worker.queues.end());
      continue;
    }
    consuming.push_back(name);
    running += static_cast<long long>(worker.running.size());
    slots += worker.slots;
    if (!worker.busy()) continue;
    busy.push_back(name);
    for (const Running& task : worker.running)
      if (task.seconds > seconds) seconds = task.seconds, longest = task.task;
  }
  std::sort(elsewhere.begin(), elsewhere.end());
  elsewhere.erase(std::unique(elsewhere.begin(), elsewhere.end()), elsewhere.end());

  const std::string up = "broker up, " + queue_of(found) + " has " + messages(found);
  const std::string start = "start one: celery -A APP worker -Q " + found.queue;
  if (!found.depth.there)
    return {false, "broker up, but there is no " + queue_of(found) + ": no worker has declared it", start};
  const bool nobody = workers.all().empty() && found.depth.consumers.value_or(found.listeners.value_or(1)) == 0;
  if (nobody && found.was_still_there == false)
    return {
        false,
        up + "; something took the ping from it, but nobody answers: neither on the control channel nor with a result",
        "workers without remote control (worker_enable_remote_control) that fail or lack a result back end, or a "
        "program that is no worker"};
  if (nobody || found.depth.consumers == 0) {
    if (!elsewhere.empty())
      return {false, up + " and no consumer: the workers that answer listen to " + joined(elsewhere), start};
    return {false, up + " and no consumer: no worker listens to it", start};
  }
  if (workers.all().empty()) return silent(found, found.depth.consumers.value_or(found.listeners.value_or(1)));
  if (consuming.empty() && workers.knows_queues())
    return {false, up + " and no consumer among the workers that answer: they listen to " + joined(elsewhere), start};
  if (!running_ping.empty())
    return {false,
            "broker up, and worker " + joined(running_ping) + " took the task " + found.task +
                ", which was still running after " + milliseconds(found.waited_s * 1000),
            "raise \"timeout\" of the profile, or look at what the task waits for (stack.dump)"};
  if (!busy.empty() && busy.size() == consuming.size())
    return {
        false,
        up + ", and the workers that listen to it are alive and busy: all " + counted(slots, "slot") + " of " +
            joined(busy) + " run tasks" +
            (longest.empty() ? ""
                             : ", the longest " + longest + " for " + grouped(static_cast<long long>(seconds)) + " s"),
        "wait, add workers or slots, or look at what the running tasks do (workers[].running, stack.dump)"};
  if (found.was_still_there == true)
    return {false,
            up + ", and " + joined(consuming) + " alive, but did not take the ping within " +
                milliseconds(found.waited_s * 1000),
            "its prefetched tasks come first (worker_prefetch_multiplier, rate limits, eta), or a backlog does"};
  return {
      false,
      up + ", and " + joined(consuming) + " alive, but no result came from " + found.result_address + " within " +
          milliseconds(found.waited_s * 1000),
      "is this the result back end that the workers write to, and can they reach it? Their log says what they could "
      "not store; running tasks: " +
          std::to_string(running)};
}

}  // namespace

Verdict judge(const Findings& found, const Workers& workers) {
  return found.outcome.over() ? answered(found) : unanswered(found, workers);
}

}  // namespace queue::celery
