#include "audit/audit.hpp"

#include <fcntl.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "audit/entry.hpp"
#include "audit/journal.hpp"
#include "audit/read.hpp"
#include "base/json.hpp"
#include "base/log.hpp"

namespace hatchd::audit {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr auto retry = 1s;        // while the file cannot be written
constexpr auto sync_within = 1s;  // lines that need not be durable at once
constexpr auto stuck = 3s;        // at the disk: it does not answer
constexpr unsigned keep_refused = 2;

std::string line_of(const json::object& entry) {
  std::string text = json::serialize(entry);
  if (text.size() <= Audit::max_line) return text + "\n";
  json::object shorter = entry;
  shorter["params"] = json::object{{"parameters_left_out", std::to_string(text.size()) + " bytes"}};
  text = json::serialize(shorter);
  if (text.size() > Audit::max_line) {
    shorter = {{"id", entry.at("id")}, {"time", entry.at("time")}, {"event", entry.at("event")}};
    if (entry.contains("run")) shorter["run"] = entry.at("run");
    shorter["left_out"] = std::to_string(text.size()) + " bytes";
    text = json::serialize(shorter);
  }
  return text + "\n";
}

}  // namespace

std::string refused_name(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0) return name + "-refused";
  return name.substr(0, dot) + "-refused" + name.substr(dot);
}

Audit::Audit(UniqueFd directory, std::string name, Bounds bounds, UniqueFd journal)
    : directory_(std::move(directory)),
      journal_(std::move(journal)),
      name_(std::move(name)),
      max_batch_(std::min<std::uint64_t>(bounds.bytes, 1024 * 1024)),
      lines_(directory_.get(), name_, bounds),
      refused_(directory_.get(), refused_name(name_), Bounds{bounds.bytes, std::min(bounds.keep, keep_refused)}) {}

Audit::~Audit() { finish(); }

Result<Audit::Recovered> Audit::recover() {
  Recovered recovered;
  if (auto opened = lines_.open(); !opened) return tl::unexpected(opened.error());
  recovered.cut = lines_.cut();
  std::map<std::string, std::string, std::less<>> open;  // run → its begin
  for_each_line(directory_.get(), name_, [&](std::string_view line) {
    const RunEvent event = run_event_of(line);
    if (event.what == RunEvent::begin) open.insert_or_assign(std::string(event.run), std::string(line));
    if (event.what == RunEvent::end)
      if (const auto at = open.find(event.run); at != open.end()) open.erase(at);
  });
  std::string text;
  if (recovered.cut > 0) {
    json::object torn = entry("torn");
    torn["bytes"] = recovered.cut;
    text += line_of(torn);
  }
  for (const auto& [run, line] : open) {
    json::object end = entry("end");
    end["run"] = run;
    if (const auto parsed = parse_json(line); parsed && parsed->is_object())
      for (const char* name : {"hatch", "effect", "target", "caller", "request", "traceparent"})
        if (const json::value* value = parsed->get_object().if_contains(name)) end[name] = *value;
    end["outcome"] = "crashed";
    end["code"] = "run-crashed";
    end["detail"] = "hatchd ended while the run was under way";
    text += line_of(end);
    ++recovered.completed;
  }
  if (!text.empty())
    if (auto written = lines_.append(text, true); !written) return tl::unexpected(written.error());
  return recovered;
}

void Audit::start(std::function<void()> progress) {
  progress_ = std::move(progress);
  thread_ = std::thread([this] { work(); });
}

void Audit::finish(std::chrono::milliseconds patience) {
  if (!thread_.joinable()) return;
  std::unique_lock lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  const bool ended = idle_.wait_for(lock, patience, [&] { return ended_; });
  lock.unlock();
  if (ended)
    thread_.join();
  else
    thread_.detach();  // at a disk that does not answer; the process is about to end
}

// ---- taking
// -----------------------------------------------------------------------------------------------------------

bool Audit::take(Waiting line) {
  if (queue_.size() + in_flight_ >= max_waiting || queued_bytes_ + line.text.size() > max_waiting_bytes) {
    ++lost_;
    return false;
  }
  queued_bytes_ += line.text.size();
  queue_.push_back(std::move(line));
  wake_.notify_one();
  return true;
}

std::uint64_t Audit::write(const json::object& entry, bool durable) {
  Waiting line;
  line.text = line_of(entry);
  if (journal_) line.datagram = journal_datagram(entry, std::string_view(line.text).substr(0, line.text.size() - 1));
  line.durable = durable;
  const std::lock_guard lock(mutex_);
  line.number = ++last_;
  const std::uint64_t number = line.number;
  return take(std::move(line)) ? number : refused;
}

void Audit::write_refused(const json::object& entry) {
  Waiting line;
  line.text = line_of(entry);
  if (journal_) line.datagram = journal_datagram(entry, std::string_view(line.text).substr(0, line.text.size() - 1));
  line.refused = true;
  const std::lock_guard lock(mutex_);
  take(std::move(line));
}

Audit::Fate Audit::fate(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  if (number == refused) return Fate::failed;
  if (number <= written_) return Fate::written;
  return number <= failed_ ? Fate::failed : Fate::waiting;
}

bool Audit::writable() const {
  const std::lock_guard lock(mutex_);
  return !failing_ && queue_.size() < max_waiting / 2 && queued_bytes_ < max_waiting_bytes / 2 &&
         (busy_since_ == SteadyTime::max() || std::chrono::steady_clock::now() - busy_since_ < stuck);
}

std::string Audit::why() const {
  const std::lock_guard lock(mutex_);
  return failing_ ? why_ : std::string("the disk does not keep up");
}

// ---- the thread
// -------------------------------------------------------------------------------------------------------

void Audit::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_ || !queue_.empty()) {
    if (failing_) {
      if (stopping_) break;  // tried a moment ago
      wake_.wait_for(lock, retry, [&] { return stopping_; });
    } else if (queue_.empty() && sync_due_) {
      wake_.wait_for(lock, sync_within, [&] { return stopping_ || !queue_.empty(); });
    } else {
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    }
    write_batch(lock);
  }
  if (sync_due_ && !failing_) write_batch(lock);
  ended_ = true;
  idle_.notify_all();
}

void Audit::write_batch(std::unique_lock<std::mutex>& lock) {
  std::deque<Waiting> batch;
  std::size_t bytes = 0;
  while (!queue_.empty() && (batch.empty() || bytes + queue_.front().text.size() <= max_batch_)) {
    bytes += queue_.front().text.size();
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  in_flight_ = batch.size();
  const std::uint64_t lost = lost_;
  const bool sync_only = batch.empty();
  busy_since_ = std::chrono::steady_clock::now();
  lock.unlock();

  std::string main, refused;
  bool durable = false;
  for (const Waiting& line : batch) {
    (line.refused ? refused : main) += line.text;
    durable = durable || line.durable;
  }
  if (lost > 0 && !sync_only) {
    json::object gap = entry("lost");
    gap["lines"] = lost;
    main += line_of(gap);
  }
  Result<void> done{};
  if (!main.empty()) done = lines_.append(main, durable);
  if (sync_only) done = lines_.sync();
  // Refused calls are for people to look at; that they cannot be written stops nothing.
  Result<void> noted{};
  if (done && !refused.empty()) noted = refused_.append(refused, false);
  bool journal_failed = false;
  if (done && journal_)
    for (const Waiting& line : batch) journal_failed |= !send_to_journal(journal_.get(), line.datagram);

  lock.lock();
  in_flight_ = 0;
  busy_since_ = SteadyTime::max();
  if (done) {
    if (failing_) log::info("the audit is written again");
    failing_ = false;
    if (!sync_only) lost_ -= lost;
    queued_bytes_ -= bytes;
    for (const Waiting& line : batch) written_ = std::max(written_, line.number);
    sync_due_ = !main.empty() ? !durable : sync_due_ && !sync_only;
  } else {
    // A sync that failed lost nothing that was promised, but what comes next may not be trusted to it.
    if (!failing_) log::error("the audit cannot be written", {{"why", done.error().detail}});
    failing_ = true;
    why_ = done.error().detail;
    failed_ = last_;
    queue_.insert(queue_.begin(), std::make_move_iterator(batch.begin()), std::make_move_iterator(batch.end()));
  }
  const bool told = std::exchange(journal_failed_, journal_failed);
  lock.unlock();
  if (!noted) log::warning("refused calls cannot be recorded", {{"why", noted.error().detail}});
  if (journal_failed && !told) log::warning("journald does not take the audit; the file has it");
  if (progress_) progress_();
  lock.lock();
}

}  // namespace hatchd::audit
