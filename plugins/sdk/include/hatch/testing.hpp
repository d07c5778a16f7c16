// testing.hpp: a host that is none, so that a hatch can be tested without a daemon.
//
// SPDX-License-Identifier: MIT
//
//   const auto answer = hatch::testing::run<MyHatch>({{"queue", "celery"}, {"tries", 3}});
//   assert(answer.status == HATCH_OK && answer.member("verdict") == "…");
//
// FakeHost gives what a run gets (parameters, profile, processes, files, cancellation) and records what it says. It
// calls the hatch through the same barrier as hatchd. Parameters are not validated: that is the host's schema, not the
// hatch.
#pragma once

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <map>
#include <optional>
#include <set>

#include "hatch/hatch.hpp"

namespace hatch::testing {

// A parameter: text, a truth value, a number, or a list of these.
class Value {
 public:
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::string text) : text_(std::move(text)) { append_quoted(json_, text_); }
  template <class N>
  requires(std::integral<N> || std::floating_point<N>) Value(N value) {
    hatch::detail::append_value(json_, value);
    text_ = json_;
  }
  template <class T>
  Value(const std::vector<T>& list) {
    Array array;
    for (const T& element : list) array.add(element);
    text_ = json_ = array.json();
  }
  const std::string& text() const { return text_; }  // as param() gives it
  const std::string& json() const { return json_; }

 private:
  std::string text_, json_;
};
using Params = std::vector<std::pair<std::string, Value>>;

// What a run answered and said on its way.
struct Answer {
  struct Failure {
    std::string code, detail, remedy;
    std::vector<std::string> missing;
  };
  struct Log {
    Level level;
    std::string message;
  };

  std::int32_t status = HATCH_BROKEN;  // HATCH_OK, HATCH_FAILED, HATCH_CANCELLED, HATCH_BROKEN
  std::string result;                  // JSON; empty: none
  std::map<std::string, std::string> renderings;
  Failure failure;
  std::vector<Log> logs;
  std::vector<std::pair<std::uint32_t, std::string>> progress;  // permyriad, note
  std::string output;
  std::map<std::string, std::string> artifacts;  // name to content; committed and adopted ones
  std::vector<std::string> aborted;              // names of those that were given up
  bool dropped_rights = false;
  unsigned pauses = 0;           // how often the target was held
  bool pause_left_open = false;  // pause_begin() without its pause_end()

  // A member of the result: a string as its text, anything else as JSON; empty when there is none.
  std::string member(std::string_view name) const;
};

class FakeHost {
 public:
  FakeHost() : cancel_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  ~FakeHost() {
    ::close(cancel_);
    for (const hatch_process& process : processes_) {
      ::close(process.pidfd);
      ::close(process.proc_fd);
    }
    for (const auto& [fd, name] : open_artifacts_) ::close(fd);
  }

  // ---- what the run is given ----
  FakeHost& params(const Params& given) {
    for (const auto& [name, value] : given) params_.insert_or_assign(name, value);
    Object all;
    for (const auto& [name, value] : params_) all.add(name, Raw{value.json()});
    params_json_ = all.json();
    return *this;
  }
  FakeHost& profile(std::string json) { return profile_ = std::move(json), *this; }
  FakeHost& configuration(std::string json) { return configuration_ = std::move(json), *this; }
  FakeHost& format(std::string name) { return format_ = std::move(name), *this; }
  FakeHost& max_pause(std::chrono::microseconds budget) { return max_pause_ = budget, *this; }
  FakeHost& remaining(std::chrono::milliseconds time) { return remaining_ = time, *this; }
  FakeHost& cache(int directory) { return cache_ = directory, *this; }
  FakeHost& stream(int socket) { return stream_ = socket, *this; }
  FakeHost& target(std::string name) { return target_ = std::move(name), *this; }
  // A living process, such as a child of the test; the first one is the main one.
  FakeHost& process(pid_t pid) {
    hatch_process process{};
    process.pid = pid;
    process.main = processes_.empty() ? 1 : 0;
    process.uid = ::geteuid();
    process.gid = ::getegid();
    process.pidfd = static_cast<std::int32_t>(::syscall(SYS_pidfd_open, pid, 0));
    process.proc_fd = ::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    processes_.push_back(process);
    if (target_.empty()) target_ = "target";
    return *this;
  }
  // What target_file() finds for every process. `file`: HATCH_FILE_…
  FakeHost& file(std::uint32_t file, std::string content) { return files_[file] = std::move(content), *this; }
  // No artifact finds room from now on.
  FakeHost& no_space() { return no_space_ = true, *this; }
  // The run is cancelled; may be called from another thread while it runs.
  FakeHost& cancel() { return ::eventfd_write(cancel_, 1), *this; }

  // ---- the run ----
  template <class H>
  Answer run() {
    return call(&hatch::detail::barrier<H, &H::run>);
  }
  template <class H>
  Answer preflight() {
    return call(&hatch::detail::barrier<H, &H::preflight>);
  }
  // A hatch that was written against hatch.h alone.
  Answer call(std::int32_t (*function)(hatch_run*, const hatch_host*)) {
    answer_ = {};
    const hatch_host host = table();
    answer_.status = function(reinterpret_cast<hatch_run*>(this), &host);
    answer_.pause_left_open = pause_depth_ != 0;
    for (const auto& [fd, name] : open_artifacts_) {
      answer_.aborted.push_back(name);
      ::close(fd);
    }
    open_artifacts_.clear();
    return answer_;
  }

 private:
  static FakeHost& of(hatch_run* run) { return *reinterpret_cast<FakeHost*>(run); }
  static std::string_view view(hatch_str text) { return hatch::detail::view(text); }
  static hatch_str str(const std::string& text) { return hatch::detail::str(text); }

  static std::string content_of(int fd) {
    std::string content;
    char buffer[65536];
    for (off_t at = 0;;) {
      const ssize_t n = ::pread(fd, buffer, sizeof buffer, at);
      if (n <= 0) return content;
      content.append(buffer, static_cast<std::size_t>(n));
      at += n;
    }
  }
  static int memory_file(std::string_view content) {
    const int fd = ::memfd_create("hatch-testing", MFD_CLOEXEC);
    while (!content.empty()) {
      const ssize_t n = ::write(fd, content.data(), content.size());
      if (n < 0) break;
      content.remove_prefix(static_cast<std::size_t>(n));
    }
    ::lseek(fd, 0, SEEK_SET);
    return fd;
  }

  static hatch_host table();

  std::map<std::string, Value, std::less<>> params_;
  std::string params_json_ = "{}", profile_ = "{}", configuration_ = "{}", format_ = "json", target_;
  std::string id_ = "01J0000000000000000000TEST", caller_ = R"({"name":"test","via":"test"})";
  std::chrono::microseconds max_pause_{0};
  std::chrono::milliseconds remaining_{30'000};
  std::vector<hatch_process> processes_;
  std::map<std::uint32_t, std::string> files_;
  std::map<int, std::string> open_artifacts_;  // descriptor to name
  bool no_space_ = false;
  int cancel_, cache_ = -1, stream_ = -1;
  unsigned pause_depth_ = 0;
  std::chrono::steady_clock::time_point paused_{};
  Answer answer_;
};

inline hatch_host FakeHost::table() {
  hatch_host host{};
  host.size = sizeof host;
  host.abi_major = HATCH_ABI_MAJOR;
  host.abi_minor = HATCH_ABI_MINOR;
  host.param = [](hatch_run* run, hatch_str name, hatch_str* value) -> std::int32_t {
    const auto at = of(run).params_.find(view(name));
    if (at == of(run).params_.end()) return 0;
    if (value) *value = str(at->second.text());
    return 1;
  };
  host.params = [](hatch_run* run) { return str(of(run).params_json_); };
  host.profile = [](hatch_run* run) { return str(of(run).profile_); };
  host.configuration = [](hatch_run* run) { return str(of(run).configuration_); };
  host.format = [](hatch_run* run) { return str(of(run).format_); };
  host.run_id = [](hatch_run* run) { return str(of(run).id_); };
  host.caller = [](hatch_run* run) { return str(of(run).caller_); };
  host.target_name = [](hatch_run* run) { return str(of(run).target_); };
  host.process_count = [](hatch_run* run) { return static_cast<std::uint32_t>(of(run).processes_.size()); };
  host.process = [](hatch_run* run, std::uint32_t index, hatch_process* out) -> std::int32_t {
    if (index >= of(run).processes_.size()) return -ESRCH;
    hatch_process process = of(run).processes_[index];
    process.size = std::min<std::uint32_t>(out->size, sizeof process);
    std::memcpy(out, &process, process.size);
    return 0;
  };
  host.target_file = [](hatch_run* run, std::uint32_t index, std::uint32_t file) -> std::int32_t {
    if (index >= of(run).processes_.size()) return -ESRCH;
    const auto at = of(run).files_.find(file);
    return at == of(run).files_.end() ? -ENOENT : memory_file(at->second);
  };
  host.progress = [](hatch_run* run, std::uint32_t permyriad, hatch_str note) {
    of(run).answer_.progress.emplace_back(permyriad, view(note));
  };
  host.log = [](hatch_run* run, std::uint32_t level, hatch_str message) {
    of(run).answer_.logs.push_back({static_cast<Level>(level), std::string(view(message))});
  };
  host.output = [](hatch_run* run, hatch_str bytes) { of(run).answer_.output += view(bytes); };
  host.cancel_fd = [](hatch_run* run) -> std::int32_t { return of(run).cancel_; };
  host.remaining_ms = [](hatch_run* run) -> std::int64_t { return of(run).remaining_.count(); };
  host.max_pause_us = [](hatch_run* run) { return static_cast<std::uint64_t>(of(run).max_pause_.count()); };
  host.pause_begin = [](hatch_run* run) {
    if (of(run).pause_depth_++ != 0) return;
    of(run).paused_ = std::chrono::steady_clock::now();
    ++of(run).answer_.pauses;
  };
  host.pause_end = [](hatch_run* run) -> std::uint64_t {
    if (of(run).pause_depth_ == 0) return 0;
    --of(run).pause_depth_;
    const auto held = std::chrono::steady_clock::now() - of(run).paused_;
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(held).count());
  };
  host.artifact = [](hatch_run* run, hatch_str name, hatch_str) -> std::int32_t {
    if (of(run).no_space_) return -ENOSPC;
    if (name.size == 0 || view(name).find('/') != std::string_view::npos) return -EINVAL;
    const int fd = memory_file({});
    of(run).open_artifacts_[fd] = view(name);
    return fd;
  };
  host.artifact_commit = [](hatch_run* run, std::int32_t fd) -> std::int32_t {
    auto open = of(run).open_artifacts_.extract(fd);
    if (open.empty()) return -EBADF;
    of(run).answer_.artifacts[open.mapped()] = content_of(fd);
    ::close(fd);
    return 0;
  };
  host.artifact_abort = [](hatch_run* run, std::int32_t fd) {
    auto open = of(run).open_artifacts_.extract(fd);
    if (open.empty()) return;
    of(run).answer_.aborted.push_back(open.mapped());
    ::close(fd);
  };
  host.artifact_adopt = [](hatch_run* run, std::int32_t fd, hatch_str name, hatch_str) -> std::int32_t {
    if (of(run).no_space_) return -ENOSPC;
    of(run).answer_.artifacts[std::string(view(name))] = content_of(fd);
    return 0;
  };
  host.cache_fd = [](hatch_run* run) -> std::int32_t { return of(run).cache_; };
  host.drop_rights = [](hatch_run* run) -> std::int32_t { return of(run).answer_.dropped_rights = true, 0; };
  host.stream = [](hatch_run* run) -> std::int32_t { return of(run).stream_; };
  host.result = [](hatch_run* run, hatch_str json) -> std::int32_t { return of(run).answer_.result = view(json), 0; };
  host.rendering = [](hatch_run* run, hatch_str name, hatch_str text) -> std::int32_t {
    return of(run).answer_.renderings[std::string(view(name))] = view(text), 0;
  };
  host.fail = [](hatch_run* run, hatch_str code, hatch_str detail, const char* const* missing, const char* remedy) {
    Answer::Failure& failure = of(run).answer_.failure;
    failure = {std::string(view(code)), std::string(view(detail)), remedy ? remedy : "", {}};
    for (; missing && *missing; ++missing) failure.missing.emplace_back(*missing);
  };
  host.extension = [](hatch_run*, hatch_str) -> const void* { return nullptr; };
  return host;
}

inline std::string Answer::member(std::string_view name) const {
  // The result was written by json.hpp or is the author's own: scanning for the borders of its members is enough.
  const auto end_of = [&](std::size_t at) {
    int depth = 0;
    bool quoted = false;
    for (; at < result.size(); ++at) {
      const char c = result[at];
      if (quoted) {
        if (c == '\\')
          ++at;
        else if (c == '"')
          quoted = false;
        continue;
      }
      if (c == '"') quoted = true;
      if (c == '{' || c == '[') ++depth;
      if (depth == 0 && (c == ',' || c == '}')) return at;
      if (c == '}' || c == ']') --depth;
    }
    return result.size();
  };
  const auto trimmed = [](std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \n\t\r");
    return begin == text.npos ? std::string_view{} : text.substr(begin, text.find_last_not_of(" \n\t\r") - begin + 1);
  };
  std::string quoted;
  append_quoted(quoted, name);
  for (std::size_t at = 1; at < result.size();) {
    const std::size_t end = end_of(at);
    const std::string_view entry = trimmed(std::string_view(result).substr(at, end - at));
    at = end + 1;
    if (!entry.starts_with(quoted)) continue;
    std::string_view value = trimmed(entry.substr(quoted.size()));
    if (value.empty() || value.front() != ':') continue;
    value = trimmed(value.substr(1));
    std::string text;
    std::size_t from = 0;
    return read_quoted(value, from, text) ? text : std::string(value);
  }
  return {};
}

// One run with these parameters and nothing else.
template <class H>
Answer run(const Params& params = {}) {
  return FakeHost{}.params(params).template run<H>();
}

}  // namespace hatch::testing
