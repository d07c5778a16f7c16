#include "worker/caller.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

#include "base/json.hpp"
#include "hatch/json.hpp"

namespace hatchd::worker {

namespace json = boost::json;

namespace {

void put(FILE* stream, const std::string& text) { std::fwrite(text.data(), 1, text.size(), stream); }

// A terminal that passes every key on, until it is set back.
termios saved_terminal;
bool terminal_is_raw = false;
void make_terminal_raw() {
  if (::tcgetattr(STDIN_FILENO, &saved_terminal) != 0) return;
  termios raw = saved_terminal;
  ::cfmakeraw(&raw);
  terminal_is_raw = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}
void restore_terminal() {
  if (std::exchange(terminal_is_raw, false)) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

}  // namespace

Caller::Caller(Shown shown, link::Channel run, link::Channel front, pid_t plugin_process)
    : shown_(std::move(shown)),
      run_(std::move(run)),
      front_(std::move(front)),
      plugin_process_(plugin_process),
      terminal_(::isatty(STDERR_FILENO) == 1) {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&watched, number);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  signals_ = UniqueFd{::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK)};
}

Caller::~Caller() {
  restore_terminal();
  for (const auto& [tag, artifact] : artifacts_)
    if (!artifact.committed) ::unlink(artifact.path.c_str());
}

void Caller::relay(UniqueFd stream) {
  stream_ = std::move(stream);
  typing_ = true;
  make_terminal_raw();
}

int Caller::follow() {
  while (!outcome_.ended() && !refused_) wait();
  restore_terminal();
  clear_progress();
  return print();
}

void Caller::wait() {
  pollfd entries[] = {{run_.fd(), POLLIN, 0},
                      {front_.fd(), POLLIN, 0},
                      {signals_.get(), POLLIN, 0},
                      {typing_ ? STDIN_FILENO : -1, POLLIN, 0},
                      {stream_.get(), POLLIN, 0}};
  if (::poll(entries, std::size(entries), -1) < 0) return;
  if (entries[2].revents) read_signal();
  if (entries[3].revents || entries[4].revents) relay_once(entries[3].revents != 0, entries[4].revents != 0);
  if (entries[1].revents) read_front();
  // After the front: what a dead run sent is still in its socket, and belongs to the outcome.
  if (entries[0].revents || outcome_.ended()) read_run();
}

void Caller::read_run() {
  while (run_) {
    link::Message message;
    switch (run_.receive(message)) {
      case link::Received::nothing: return;
      case link::Received::ended:
      case link::Received::broken:
        run_.close();
        if (!front_) outcome_.plugin_gone("this one");
        return;
      case link::Received::message: break;
    }
    if (outcome_.take(message)) continue;
    if (message.type == "event") show_event(message.body);
    if (message.type == "artifact") open_artifact(message.body);
    if (message.type == "commit") commit_artifact(message.body);
  }
}

void Caller::read_front() {
  link::Message message;
  switch (front_.receive(message)) {
    case link::Received::nothing: return;
    case link::Received::ended:
    case link::Received::broken:
      front_.close();
      return outcome_.plugin_gone(interrupts_ > 1 ? "which was killed" : "which went away");
    case link::Received::message: break;
  }
  if (outcome_.take(message)) return;
  if (const json::object* target = object_of(message.body, "target")) target_ = *target;
  const json::object* problem = object_of(message.body, "problem");
  if (message.type == "refused") refused_ = problem ? problem_from_json(*problem) : Problem{"internal", "refused"};
}

void Caller::read_signal() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
  clear_progress();
  if (++interrupts_ == 1) {
    put(stderr, "cancelling; once more to kill\n");
    front_.send("cancel", {{"run", shown_.run}});
  } else if (plugin_process_ > 0) {
    ::kill(plugin_process_, SIGKILL);  // its runs die with it
  }
}

void Caller::relay_once(bool typed, bool said) {
  char buffer[4096];
  if (typed) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n <= 0 || !write_all(stream_.get(), {buffer, static_cast<std::size_t>(n)})) {
      typing_ = false;
      ::shutdown(stream_.get(), SHUT_WR);
    }
  }
  if (said) {
    const ssize_t n = ::read(stream_.get(), buffer, sizeof buffer);
    if (n > 0)
      write_all(STDOUT_FILENO, {buffer, static_cast<std::size_t>(n)});
    else
      stream_.reset(), typing_ = false;
  }
}

void Caller::show_event(const json::object& event) {
  const std::string kind = text_of(event, "event");
  if (kind == "progress") {
    if (!terminal_ || terminal_is_raw) return;
    put(stderr, "\r\033[K" + std::to_string(number_of(event, "permyriad") / 100) + " %  " +
                    hatch::printable(text_of(event, "note")));
    std::fflush(stderr);
    progress_shown_ = true;
    return;
  }
  clear_progress();
  if (kind == "log")
    put(stderr, hatch::printable(text_of(event, "level") + ": " + text_of(event, "message"), true) + "\n");
  else if (kind == "output")
    put(stderr, hatch::printable(text_of(event, "text"), true));
}

void Caller::clear_progress() {
  if (std::exchange(progress_shown_, false)) put(stderr, "\r\033[K");
}

void Caller::open_artifact(const json::object& request) {
  const std::int64_t tag = number_of(request, "tag");
  Artifact artifact{text_of(request, "name"), text_of(request, "media_type"), "", false, 0};
  // The run is not trusted with paths, and nothing of the caller's is overwritten.
  if (!artifact.name.empty() && artifact.name.find('/') == std::string::npos && artifact.name.front() != '.')
    for (const std::string& path : {artifact.name, shown_.run + "-" + artifact.name}) {
      const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
      if (!file) continue;
      artifact.path = path;
      const int fd = file.get();
      run_.send("artifact", {{"tag", tag}}, {&fd, 1});
      artifacts_[tag] = std::move(artifact);
      return;
    }
  const std::string why = "cannot keep artifact " + hatch::printable(artifact.name) + " here: " + errno_text(errno);
  clear_progress();
  put(stderr, "warning: " + why + "\n");
  run_.send("refused", {{"tag", tag}, {"problem", to_json(Problem{"no-space", why})}});
}

void Caller::commit_artifact(const json::object& request) {
  const auto at = artifacts_.find(number_of(request, "of"));
  const json::value tag = number_of(request, "tag");
  struct stat info {};
  if (at == artifacts_.end() || ::stat(at->second.path.c_str(), &info) != 0) {
    run_.send("refused", {{"tag", tag}, {"problem", to_json(Problem{"internal", "there is no such artifact"})}});
    return;
  }
  at->second.committed = true;
  at->second.bytes = info.st_size;
  run_.send("committed", {{"tag", tag}});
}

json::object Caller::run_json() {
  const auto problem = outcome_.problem();
  json::object run{{"id", shown_.run}, {"hatch", shown_.hatch}};
  if (!target_.empty()) run["target"] = target_;
  run["params"] = shown_.params;
  run["state"] = to_string(outcome_.state());
  const WallTime finished = std::chrono::system_clock::now();
  run["started"] = rfc3339(began_);
  run["finished"] = rfc3339(finished);
  run["duration_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(finished - began_).count();
  run["paused_us"] = outcome_.longest_pause_us();
  run["error"] = problem ? json::value(to_json(*problem)) : json::value(nullptr);
  json::array& artifacts = run["artifacts"].emplace_array();
  for (const auto& [tag, artifact] : artifacts_)
    if (artifact.committed)
      artifacts.push_back(json::object{
          {"name", artifact.name}, {"type", artifact.media_type}, {"bytes", artifact.bytes}, {"file", artifact.path}});
  return run;
}

int Caller::print() {
  std::optional<Problem> problem = refused_ ? refused_ : outcome_.problem();
  if (shown_.json && !refused_) {
    std::string text = pretty(run_json());
    // The result goes in as text: a large one would take many times its size as a tree.
    if (const auto result = pretty_text(outcome_.result(), 1, "run-failed"); result && !outcome_.result().empty())
      text.replace(text.rfind("\n}"), 2, ",\n  \"result\": " + *result + "\n}");
    put(stdout, text + "\n");
  } else if (!shown_.json) {
    std::string text;
    for (const auto& [name, rendering] : outcome_.renderings())
      if (name == "text") text = rendering;
    if (text.empty()) text = hatch::printable(outcome_.verdict(), true);
    if (!text.empty()) put(stdout, text.back() == '\n' ? text : text + '\n');
    for (const auto& [tag, artifact] : artifacts_)
      if (artifact.committed)
        put(stderr, "artifact: " + artifact.path + " (" + std::to_string(artifact.bytes) + " bytes)\n");
  }
  if (!problem) return 0;
  std::string text = (refused_ ? "refused" : std::string(to_string(outcome_.state()))) + " (" + problem->code +
                     "): " + problem->detail + '\n';
  for (const FieldError& error : problem->errors) text += "  " + error.pointer + ": " + error.detail + '\n';
  for (std::size_t i = 0; i < problem->missing.size(); ++i) text += (i == 0 ? "missing: " : ", ") + problem->missing[i];
  if (!problem->missing.empty()) text += '\n';
  const bool by_sudo = !shown_.more_rights.empty() && problem->code == "rights-missing" &&
                       std::any_of(problem->missing.begin(), problem->missing.end(),
                                   [](const std::string& entry) { return entry.find("CAP_") != std::string::npos; });
  if (by_sudo) text += "remedy: " + shown_.more_rights + "; as a service: " + problem->remedy + '\n';
  if (!by_sudo && !problem->remedy.empty()) text += "remedy: " + problem->remedy + '\n';
  put(stderr, hatch::printable(text, true));
  return problem->code == "rights-missing" ? 3 : 1;
}

}  // namespace hatchd::worker
