#include "worker/host.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

#include "base/json.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "hatch/act.hpp"
#include "hatch/json.hpp"
#include "hatch/log.hpp"
#include "hatch/network.hpp"
#include "link/outcome.hpp"
#include "link/receive.hpp"
#include "worker/rendering.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

constexpr int commit_patience_ms = 3600'000;  // syncing gigabytes takes its time; the run's time limit is below it
constexpr int answer_patience_ms = 10'000;    // for results and for the store's answers about artifacts
constexpr std::size_t max_note = 1024, max_name = 128, max_list = 32;

std::string_view view(hatch_str text) {
  return text.data && text.size ? std::string_view{text.data, text.size} : std::string_view{};
}
hatch_str borrowed(const std::string& text) { return {text.data(), text.size()}; }
std::string bounded(const char* text, std::size_t max) { return text ? std::string(text, ::strnlen(text, max)) : ""; }

// A name that is safe as a file name, in a URL and in a header.
bool is_file_name(std::string_view name) {
  if (name.empty() || name.size() > max_name || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}
// type/subtype with optional parameters (RFC 9110, section 8.3.1), by its characters.
bool is_media_type(std::string_view type) {
  if (type.size() > max_name || type.find('/') == type.npos) return false;
  return std::all_of(type.begin(), type.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

// How many bytes at the end of `text` are the begin of a code point that is not complete.
std::size_t incomplete_tail(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xC0) continue;
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

// The functions of hatch_host. hatch_run is our Host.
struct Table {
  static Host& of(hatch_run* run) { return *reinterpret_cast<Host*>(run); }

  static std::int32_t param(hatch_run* run, hatch_str name, hatch_str* value) noexcept {
    const auto& texts = of(run).param_texts_;
    const auto at = texts.find(view(name));
    if (at == texts.end()) return 0;
    if (value) *value = borrowed(at->second);
    return 1;
  }
  static hatch_str params(hatch_run* run) noexcept { return borrowed(of(run).params_text_); }
  static hatch_str profile(hatch_run* run) noexcept { return borrowed(of(run).profile_text_); }
  static hatch_str configuration(hatch_run* run) noexcept { return borrowed(of(run).configuration_text_); }
  static hatch_str format(hatch_run* run) noexcept { return borrowed(of(run).task_.format); }
  static hatch_str run_id(hatch_run* run) noexcept { return borrowed(of(run).task_.id); }
  static hatch_str caller(hatch_run* run) noexcept { return borrowed(of(run).caller_text_); }

  static hatch_str target_name(hatch_run* run) noexcept { return borrowed(of(run).task_.target_name); }
  static std::uint32_t process_count(hatch_run* run) noexcept {
    return static_cast<std::uint32_t>(of(run).task_.processes.size());
  }
  static std::int32_t process(hatch_run* run, std::uint32_t index, hatch_process* out) noexcept {
    const auto& processes = of(run).task_.processes;
    if (index >= processes.size()) return -ESRCH;
    if (!out || out->size < offsetof(hatch_process, pid_namespace)) return -EINVAL;
    hatch_process facts = processes[index].facts;
    facts.size = std::min<std::uint32_t>(out->size, sizeof facts);
    facts.pidfd = processes[index].pidfd.get();
    facts.proc_fd = processes[index].directory.get();
    std::memcpy(out, &facts, facts.size);
    return 0;
  }
  static std::int32_t target_file(hatch_run* run, std::uint32_t index, std::uint32_t file) noexcept {
    const auto& processes = of(run).task_.processes;
    if (index >= processes.size()) return -ESRCH;
    if (file > HATCH_FILE_LOG) return -EINVAL;
    const UniqueFd& opened = processes[index].files[file];
    if (!opened) return processes[index].file_errors[file];
    // A duplicate shares its position with the one before it.
    ::lseek(opened.get(), 0, SEEK_SET);
    const int copy = ::fcntl(opened.get(), F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
  }

  static void progress(hatch_run* run, std::uint32_t permyriad, hatch_str note) noexcept {
    const std::string_view text = view(note).substr(0, max_note);
    if (!of(run).has_room(text.size())) return;
    of(run).event({{"event", "progress"},
                   {"permyriad", std::min(permyriad, 10'000u)},
                   {"note", hatch::printable(of(run).mask_->text(text))}},
                  text.size());
  }
  static void log(hatch_run* run, std::uint32_t level, hatch_str message) noexcept {
    constexpr const char* names[] = {"debug", "info", "warning", "error"};
    const std::string_view given = view(message).substr(0, Host::max_piece);
    if (!of(run).has_room(std::min(given.size(), link::max_log))) return;
    std::string text = hatch::printable(of(run).mask_->text(given), true);
    if (text.size() > link::max_log) {
      constexpr std::string_view more = "…";
      text.resize(link::max_log - more.size());
      text.resize(text.size() - incomplete_tail(text));
      text += more;
    }
    of(run).event({{"event", "log"}, {"level", names[std::min(level, 3u)]}, {"message", text}}, text.size());
  }
  static void output(hatch_run* run, hatch_str bytes) noexcept {
    for (std::string_view rest = view(bytes); !rest.empty(); rest.remove_prefix(std::min(rest.size(), Host::max_piece)))
      of(run).add_output(rest.substr(0, Host::max_piece));
  }

  static std::int32_t cancel_fd(hatch_run* run) noexcept { return of(run).task_.cancel.get(); }
  static std::int64_t remaining_ms(hatch_run* run) noexcept {
    const auto left = of(run).task_.deadline - std::chrono::steady_clock::now();
    return std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
  }
  static std::uint64_t max_pause_us(hatch_run* run) noexcept { return of(run).task_.max_pause_us; }
  static void pause_begin(hatch_run* run) noexcept { of(run).pause_begin(); }
  static std::uint64_t pause_end(hatch_run* run) noexcept { return of(run).pause_end(); }

  static std::int32_t artifact(hatch_run* run, hatch_str name, hatch_str media_type) noexcept {
    return of(run).open_artifact(view(name), view(media_type));
  }
  static std::int32_t artifact_commit(hatch_run* run, std::int32_t fd) noexcept { return of(run).commit_artifact(fd); }
  static void artifact_abort(hatch_run* run, std::int32_t fd) noexcept { of(run).abort_artifact(fd); }
  static std::int32_t artifact_adopt(hatch_run* run, std::int32_t fd, hatch_str name, hatch_str media_type) noexcept {
    return of(run).adopt_artifact(fd, view(name), view(media_type));
  }

  static std::int32_t cache_fd(hatch_run* run) noexcept { return of(run).task_.cache_fd; }
  static std::int32_t drop_rights(hatch_run*) noexcept { return rights::drop(); }
  static std::int32_t stream(hatch_run* run) noexcept { return of(run).task_.stream.get(); }

  static std::int32_t result(hatch_run* run, hatch_str text) noexcept { return of(run).set_result(view(text)); }
  static std::int32_t rendering(hatch_run* run, hatch_str name, hatch_str text) noexcept {
    return of(run).set_rendering(view(name), view(text));
  }
  static void fail(hatch_run* run, hatch_str code, hatch_str detail, const char* const* missing,
                   const char* remedy) noexcept {
    Problem problem;
    problem.code = view(code) == "rights-missing" ? "rights-missing" : "run-failed";
    problem.detail = hatch::printable(view(detail).substr(0, 16 * 1024), true);
    for (std::size_t i = 0; missing && missing[i] && i < max_list; ++i)
      problem.missing.push_back(hatch::printable(bounded(missing[i], max_note)));
    problem.remedy = hatch::printable(bounded(remedy, 4 * max_note), true);
    of(run).failed_ = true;
    of(run).problem_ = std::move(problem);
  }
  static std::int32_t choose_network(hatch_run* run, std::uint32_t of_target) noexcept {
    return of(run).choose_network(of_target != 0);
  }
  static std::int32_t begin_to_act(hatch_run* run) noexcept { return of(run).begin_to_act(); }
  static hatch_str mask_rules(hatch_run* run) noexcept { return borrowed(of(run).mask_text_); }
  static hatch_str log_place(hatch_run* run) noexcept { return borrowed(of(run).log_text_); }
  static const void* extension(hatch_run*, hatch_str id) noexcept {
    static constexpr hatch::MaskExtension mask{sizeof(hatch::MaskExtension), mask_rules};
    static constexpr hatch::NetworkExtension network{sizeof(hatch::NetworkExtension), choose_network};
    if (view(id) == hatch::network_extension) return &network;
    static constexpr hatch::ActExtension act{sizeof(hatch::ActExtension), begin_to_act};
    if (view(id) == hatch::act_extension) return &act;
    static constexpr hatch::LogExtension log{sizeof(hatch::LogExtension), log_place};
    if (view(id) == "log/1") return &log;
    return view(id) == "mask/1" ? &mask : nullptr;
  }
};

namespace {

constexpr hatch_host table{
    .size = sizeof(hatch_host),
    .abi_major = HATCH_ABI_MAJOR,
    .abi_minor = HATCH_ABI_MINOR,
    .param = Table::param,
    .params = Table::params,
    .profile = Table::profile,
    .configuration = Table::configuration,
    .format = Table::format,
    .run_id = Table::run_id,
    .caller = Table::caller,
    .target_name = Table::target_name,
    .process_count = Table::process_count,
    .process = Table::process,
    .target_file = Table::target_file,
    .progress = Table::progress,
    .log = Table::log,
    .output = Table::output,
    .cancel_fd = Table::cancel_fd,
    .remaining_ms = Table::remaining_ms,
    .max_pause_us = Table::max_pause_us,
    .pause_begin = Table::pause_begin,
    .pause_end = Table::pause_end,
    .artifact = Table::artifact,
    .artifact_commit = Table::artifact_commit,
    .artifact_abort = Table::artifact_abort,
    .artifact_adopt = Table::artifact_adopt,
    .cache_fd = Table::cache_fd,
    .drop_rights = Table::drop_rights,
    .stream = Table::stream,
    .result = Table::result,
    .rendering = Table::rendering,
    .fail = Table::fail,
    .extension = Table::extension,
};

}  // namespace

Host::Host(Task& task)
    : task_(task),
      params_text_(json::serialize(task.params)),
      profile_text_(json::serialize(task.profile)),
      configuration_text_(json::serialize(task.configuration)),
      caller_text_(json::serialize(task.caller)),
      log_text_(task.log.empty() ? std::string() : json::serialize(task.log)),
      mask_(mask::rules()),
      mask_text_(json::serialize(json::object{{"keys", json::value_from(mask_->rules().keys)},
                                              {"patterns", json::value_from(mask_->rules().patterns)},
                                              {"allow", json::value_from(mask_->rules().allow)}})) {
  for (const auto& [name, value] : task.params) {
    const json::string* text = value.if_string();
    param_texts_.emplace(name, text ? std::string(*text) : json::serialize(value));
  }
}

void Host::call() {
  if (task_.processes_counted > static_cast<std::int64_t>(task_.processes.size()))
    event({{"event", "log"},
           {"level", "warning"},
           {"message", "the target has " + std::to_string(task_.processes_counted) +
                           " processes; this run sees the first " + std::to_string(task_.processes.size())}},
          0);

  const hatch_hatch& hatch = task_.hatch->description;
  const auto function = task_.preflight ? hatch.preflight : hatch.run;
  std::int32_t status = HATCH_OK;
  if (function) {
    // noexcept: an exception that escapes a plugin is that plugin's crash and must look like one.
    status = [&]() noexcept { return function(reinterpret_cast<hatch_run*>(this), &table); }();
  } else {
    set_result(R"({"verdict": "ready", "ready": true})");
  }

  flush_output();
  note_dropped();
  while (!artifacts_.empty()) abort_artifact(artifacts_.begin()->first);
  if (has_result_ && !has_text_) set_rendering("text", default_text(result_));

  Problem broken{"run-failed", ""};
  switch (status) {
    case HATCH_OK:
      if (has_result_) return close_run("ok");
      broken.detail = bad_result_.empty() ? "the plugin returned no result"
                                          : "the plugin returned an invalid result: " + bad_result_;
      return close_run("broken", &broken);
    case HATCH_FAILED:
      if (!failed_) problem_ = Problem{"run-failed", "the hatch failed and did not say why"};
      return close_run("failed", &problem_);
    case HATCH_CANCELLED: return close_run("cancelled");
    case HATCH_BROKEN: return close_run("broken", failed_ ? &problem_ : nullptr);
    default:
      broken.detail = "the plugin returned " + std::to_string(status) + ", which is no status of a run";
      return close_run("broken", &broken);
  }
}

// ---- events
// -----------------------------------------------------------------------------------------------------------

bool Host::has_room(std::size_t bytes) {
  if (events_ < max_events && event_bytes_ + bytes <= max_event_bytes) return true;
  ++dropped_;
  return false;
}

void Host::event(json::object body, std::size_t bytes) {
  // A caller who reads slowly may hold up the first event, not every one.
  if (!task_.channel.send("event", std::move(body), {}, unheard_ ? 0 : 2000)) {
    unheard_ = true;
    ++dropped_;
    return;
  }
  unheard_ = false;
  ++events_;
  event_bytes_ += bytes;
}

void Host::note_dropped() {
  if (dropped_ == 0) return;
  task_.channel.send(
      "event", {{"event", "log"},
                {"level", "warning"},
                {"message", std::to_string(dropped_) + " more events were dropped: too many, or nobody took them"}});
}

void Host::flush_output() { tell_output(std::exchange(output_tail_, {})); }

void Host::add_output(std::string_view bytes) {
  std::string text = output_tail_;
  text += bytes;
  // A secret must not be cut in two, each half of which says nothing: lines are masked whole.
  const std::size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
  const std::size_t tail = text.size() - line <= max_line ? text.size() - line : incomplete_tail(text);
  output_tail_ = text.substr(text.size() - tail);
  text.resize(text.size() - tail);
  tell_output(text);
}

void Host::tell_output(const std::string& text) {
  if (text.empty() || !has_room(text.size())) return;
  const std::string shown = hatch::printable(mask_->text(text), true);
  for (std::string_view rest = shown; !rest.empty();) {
    std::string_view piece = rest.substr(0, link::max_output);
    if (piece.size() < rest.size()) piece.remove_suffix(incomplete_tail(piece));
    event({{"event", "output"}, {"text", piece}}, piece.size());
    rest.remove_prefix(piece.size());
  }
}

// ---- the answer
// -------------------------------------------------------------------------------------------------------

int Host::set_result(std::string_view given) {
  has_result_ = false;
  if (given.size() > link::Outcome::max_result) {
    bad_result_ = "more than 64 MiB";
    return -EFBIG;
  }
  std::string text = mask_->json(given);
  if (auto verdict = link::verdict_of(text); !verdict) {
    bad_result_ = verdict.error().detail;
    return -EINVAL;
  }
  if (const int error = send_text("result", {}, text); error < 0) return error;
  has_result_ = true;
  result_ = std::move(text);
  return 0;
}

int Host::set_rendering(std::string_view name, std::string_view given) {
  if (!is_file_name(name) || name.size() > 64 || name == "json") return -EINVAL;
  if (given.size() > link::Outcome::max_result) return -EFBIG;
  const std::string text = mask_->text(given);
  if (const int error = send_text("rendering", {{"name", name}}, text); error < 0) return error;
  if (name == "text") has_text_ = true;
  return 0;
}

int Host::send_text(std::string_view type, json::object body, std::string_view text) {
  body["bytes"] = text.size();
  if (text.size() <= link::Outcome::max_inline) {
    body["text"] = text;
    return task_.channel.send(type, std::move(body), {}, answer_patience_ms) ? 0 : -EPIPE;
  }
  auto file = sealed_memfd("hatch-text", text);
  if (!file) return -ENOMEM;
  const int fd = file->get();
  return task_.channel.send(type, std::move(body), {&fd, 1}, answer_patience_ms) ? 0 : -EPIPE;
}

void Host::close_run(std::string_view status, const Problem* problem) {
  json::object body{{"status", status}, {"longest_pause_us", task_.board->longest_ns / 1000}};
  if (problem) body["problem"] = to_json(*problem);
  task_.channel.send("closing", std::move(body), {}, answer_patience_ms);
}

// ---- acting
// -----------------------------------------------------------------------------------------------------------

bool Host::take_leave_to_act(const link::Message& message) {
  if (message.type != "act") return false;
  task_.recording = false;
  return true;
}

int Host::begin_to_act() {
  while (task_.recording) {
    pollfd both[2] = {{task_.channel.fd(), POLLIN, 0}, {task_.cancel.get(), POLLIN, 0}};
    if (::poll(both, 2, -1) < 0 && errno != EINTR) return -errno;
    if (both[1].revents) return -ECANCELED;
    link::Message message;
    switch (task_.channel.receive(message)) {
      case link::Received::nothing: break;
      case link::Received::message:
        take_leave_to_act(message);
        break;  // else the answer to a request that was given up
      case link::Received::ended:
      case link::Received::broken: return -ECANCELED;  // who records it has ended it
    }
  }
  return 0;
}

// ---- artifacts
// --------------------------------------------------------------------------------------------------------

int Host::request(std::string_view type, json::object body, UniqueFd* descriptor) {
  const std::int64_t tag = ++last_tag_;
  body["tag"] = tag;
  if (!task_.channel.send(type, std::move(body))) return -EPIPE;
  const int patience = type == "commit" ? commit_patience_ms : answer_patience_ms;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience);
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    link::Message answer;
    switch (task_.channel.wait(answer, static_cast<int>(std::max<std::int64_t>(0, left)))) {
      case link::Received::message: break;
      case link::Received::nothing:
        if (left <= 0) return -ETIMEDOUT;
        continue;
      case link::Received::ended:
      case link::Received::broken: return -EPIPE;
    }
    if (take_leave_to_act(answer)) continue;
    // An answer with another tag belongs to a request that was given up; its descriptor closes with the message.
    if (number_of(answer.body, "tag") != tag) continue;
    if (answer.type == "refused") {
      const json::object* problem = object_of(answer.body, "problem");
      return problem && text_of(*problem, "code") == "no-space" ? -ENOSPC : -EACCES;
    }
    if (descriptor) {
      if (answer.fds.empty()) return -EPROTO;
      *descriptor = std::move(answer.fds.front());
    }
    return 0;
  }
}

int Host::open_artifact(std::string_view name, std::string_view media_type) {
  if (!is_file_name(name) || !is_media_type(media_type)) return -EINVAL;
  UniqueFd file;
  if (const int error = request("artifact", {{"name", name}, {"media_type", media_type}}, &file); error < 0)
    return error;
  const int fd = file.release();
  artifacts_[fd] = last_tag_;
  return fd;
}

int Host::commit_artifact(int fd) {
  const auto at = artifacts_.find(fd);
  if (at == artifacts_.end()) return -EBADF;
  const std::int64_t of = at->second;
  artifacts_.erase(at);
  ::close(fd);
  return request("commit", {{"of", of}}, nullptr);
}

void Host::abort_artifact(int fd) {
  const auto at = artifacts_.find(fd);
  if (at == artifacts_.end()) return;
  task_.channel.send("abort", {{"of", at->second}});
  artifacts_.erase(at);
  ::close(fd);
}

int Host::adopt_artifact(int fd, std::string_view name, std::string_view media_type) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return -errno;
  if (!S_ISREG(info.st_mode)) return -EINVAL;
  const int to = open_artifact(name, media_type);
  if (to < 0) return to;
  ::fcntl(to, F_SETFL, O_APPEND);  // hashed while it is copied
  std::string buffer(256 * 1024, '\0');
  for (off_t at = 0; at < info.st_size;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) break;  // it shrank meanwhile
    if (n < 0 || !write_all(to, std::string_view(buffer).substr(0, static_cast<std::size_t>(n)))) {
      const int error = errno;
      abort_artifact(to);
      return -error;
    }
    at += n;
  }
  return commit_artifact(to);
}

// ---- whose network
// ----------------------------------------------------------------------------------------------

int Host::choose_network(bool of_target) {
  int error = of_target ? -ESRCH : 0;
  if (of_target && !task_.processes.empty()) {
    const auto main = std::find_if(task_.processes.begin(), task_.processes.end(),
                                   [](const OpenProcess& process) { return process.facts.main != 0; });
    const OpenProcess& process = main == task_.processes.end() ? task_.processes.front() : *main;
    const UniqueFd& network = process.files[OpenProcess::network];
    if (!network)
      error = process.file_errors[OpenProcess::network];
    else
      error = ::setns(network.get(), CLONE_NEWNET) == 0 ? 0 : -errno;
  }
  // Before a byte of the network or of the target is read, whether it was asked for or not.
  if (!rights::give_up("sys_admin")) return -ENOTRECOVERABLE;
  return error;
}

// ---- stopping the target
// ----------------------------------------------------------------------------------------------

void Host::pause_begin() {
  const std::lock_guard lock{pause_mutex_};
  if (pause_depth_++ == 0 && task_.board) task_.board->since_ns = monotonic_ns();
}

std::uint64_t Host::pause_end() {
  const std::lock_guard lock{pause_mutex_};
  if (pause_depth_ == 0 || !task_.board) return 0;
  PauseBoard& board = *task_.board;
  const std::int64_t held = std::max<std::int64_t>(0, monotonic_ns() - board.since_ns);
  if (--pause_depth_ == 0) {
    board.longest_ns = std::max<std::int64_t>(board.longest_ns, held);
    board.since_ns = 0;
  }
  return static_cast<std::uint64_t>(held / 1000);
}

}  // namespace hatchd::worker
