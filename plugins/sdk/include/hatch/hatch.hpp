// hatch.hpp: a hatch in about thirty lines of C++20.
//
// SPDX-License-Identifier: MIT
//
// Vocabulary
//   hatch     a struct with `static constexpr hatch::About about`, optionally `void params(auto& p)`, and
//             `hatch::Result run(hatch::Run& run)`; optionally `hatch::Result preflight(hatch::Run& run)`.
//   params    members of the struct; their initial values are the defaults. One function is visited twice: once to
//             write the JSON Schema, once to fill the members, so schema and code cannot drift apart.
//   Run       what the host offers: target, progress, cancellation, artifacts. Valid during run() only.
//   Result    the answer: a verdict for a person, steps, members. Returned.
//   Failure   thrown: the hatch did its work and the answer is no ("the server refused the recipient").
//
// The header owns all memory rules of hatch.h and lets no exception cross the boundary. See plugins/sdk/template for a
// complete plugin.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hatch/hatch.h"
#include "hatch/json.hpp"

namespace hatch {

using namespace std::chrono_literals;

enum class Effect : std::uint32_t { observe = HATCH_OBSERVE, act = HATCH_ACT, disrupt = HATCH_DISRUPT };
enum class Target : std::uint32_t {
  none = HATCH_TARGET_NONE,
  optional = HATCH_TARGET_OPTIONAL,
  required = HATCH_TARGET_REQUIRED
};
enum class Level : std::uint32_t {
  debug = HATCH_DEBUG,
  info = HATCH_INFO,
  warning = HATCH_WARNING,
  error = HATCH_ERROR
};

// What a hatch says about itself. All text is constant. Lists hold up to seven entries.
struct About {
  const char* id;             // "group.verb"
  const char* title;          // one line
  const char* documentation;  // paragraphs for the person who is about to run it
  Effect effect = Effect::observe;
  Target target = Target::required;
  std::uint32_t flags = 0;                 // HATCH_ENVIRONMENT | HATCH_INTERACTIVE | …
  std::chrono::milliseconds timeout{0};    // 0: the host's default, 30 s
  std::chrono::microseconds max_pause{0};  // 0: never pauses the target
  std::chrono::milliseconds cooldown{0};   // how long it rests on a target after a run
  const char* kind = nullptr;              // profile kind that it serves
  const char* capabilities[8] = {};        // "sys_ptrace", …
  const char* renderings[8] = {};          // beside "json" and "text"
  const char* artifact_types[8] = {};      // media types
  const char* requirements[8] = {};        // extensions without which it cannot run
};

// ---------------------------------------------------------------------------------------------------------------------
// The answer.

class Result {
 public:
  // `verdict`: one sentence that a person understands at 3 a.m.
  explicit Result(std::string verdict = {}) : verdict_(std::move(verdict)) {}

  Result& verdict(std::string sentence) { return verdict_ = std::move(sentence), *this; }
  // What to try next; for failures.
  Result& hint(std::string sentence) { return hint_ = std::move(sentence), *this; }
  // The answer is incomplete; the verdict says what is missing.
  Result& partial() { return partial_ = true, *this; }
  template <class T>
  Result& add(std::string_view name, const T& value) {
    // What may have megabytes gets room for what is yet to come: its end, and verdict and steps before it.
    if constexpr (std::same_as<T, Raw>) members_.reserve(members_.size() + name.size() + value.text.size() + 4096);
    if (!members_.empty()) members_ += ',';
    append_quoted(members_, name);
    members_ += ':';
    detail::append_value(members_, value);
    return *this;
  }
  // One thing that was done, in order. `ms`: how long it took.
  Result& step(std::string_view name, double ms, bool ok, std::string_view detail = {}) {
    Object entry;
    entry.add("name", name).add("ms", rounded_ms(ms)).add("ok", ok);
    if (!detail.empty()) entry.add("detail", detail);
    return steps_.add(entry), *this;
  }
  // The answer as a person reads it on a terminal. Without it the host renders verdict, steps and members.
  Result& text(std::string rendering) { return this->rendering("text", std::move(rendering)); }
  Result& rendering(std::string name, std::string text) {
    return renderings_.emplace_back(std::move(name), std::move(text)), *this;
  }

  std::string json() const { return Result(*this).take_json(); }
  // The same text; the members go into it, and are gone then.
  std::string take_json() {
    Object head;
    head.add("verdict", verdict_);
    if (!hint_.empty()) head.add("hint", hint_);
    if (partial_) head.add("partial", true);
    if (!steps_.empty()) head.add("steps", steps_);
    std::string text = head.json();
    if (members_.empty()) return text;
    text.back() = ',';
    members_.insert(0, text);
    return std::move(members_ += '}');
  }
  const std::vector<std::pair<std::string, std::string>>& renderings() const { return renderings_; }

 private:
  std::string verdict_, hint_;
  bool partial_ = false;
  Array steps_;
  std::string members_;  // as within an object
  std::vector<std::pair<std::string, std::string>> renderings_;
};

// The hatch did not succeed, and why. `code` is "run-failed" or "rights-missing".
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& detail, std::string code = "run-failed")
      : std::runtime_error(detail), code(std::move(code)) {}
  // hatchd lacks a right on the target: what exactly, and what a person does about it.
  static Failure rights(const std::string& detail, std::vector<std::string> missing, std::string remedy) {
    Failure failure{detail, "rights-missing"};
    failure.missing = std::move(missing);
    failure.remedy = std::move(remedy);
    return failure;
  }
  // How far it came.
  Failure&& with(Result reached) && {
    result = std::make_shared<Result>(std::move(reached));
    return std::move(*this);
  }

  std::string code;
  std::vector<std::string> missing;
  std::string remedy;
  std::shared_ptr<Result> result;
};

// Thrown by Run::check() and Run::wait() when the run is cancelled or out of time. Let it pass.
class Cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "cancelled"; }
};

// ---------------------------------------------------------------------------------------------------------------------
// What the host offers.

namespace detail {
inline hatch_str str(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view view(hatch_str text) {
  return text.size ? std::string_view{text.data, text.size} : std::string_view{};
}
}  // namespace detail

// An artifact that is being written. Aborted unless committed.
class Artifact {
 public:
  Artifact(hatch_run* run, const hatch_host* host, int fd) : run_(run), host_(host), fd_(fd) {}
  Artifact(Artifact&& other) noexcept : run_(other.run_), host_(other.host_), fd_(std::exchange(other.fd_, -1)) {}
  Artifact& operator=(Artifact&&) = delete;
  ~Artifact() {
    if (fd_ >= 0) host_->artifact_abort(run_, fd_);
  }
  // For whoever writes here and there in the file; write() appends, so use one or the other.
  int fd() const { return fd_; }
  void write(std::string_view bytes) {
    if (!std::exchange(appends_, true)) ::fcntl(fd_, F_SETFL, O_APPEND);  // hatchd hashes it meanwhile
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw Failure("artifact: " + std::string(std::strerror(errno)));
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void commit() {
    const int error = host_->artifact_commit(run_, std::exchange(fd_, -1));
    if (error < 0) throw Failure("artifact: " + std::string(std::strerror(-error)));
  }

 private:
  hatch_run* run_;
  const hatch_host* host_;
  int fd_;
  bool appends_ = false;
};

class Run {
 public:
  Run(hatch_run* run, const hatch_host* host) : run_(run), host_(host) {}

  // -- the target --
  std::string_view target_name() const { return detail::view(host_->target_name(run_)); }
  std::vector<hatch_process> processes() const {
    std::vector<hatch_process> all(host_->process_count(run_));
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      all[i].size = sizeof(hatch_process);
      host_->process(run_, i, &all[i]);
    }
    return all;
  }
  // Open for reading, owned by the caller; or a negative errno. `file`: HATCH_FILE_…
  int target_file(std::uint32_t process, std::uint32_t file) const { return host_->target_file(run_, process, file); }

  // -- parameters beyond the members of the hatch --
  std::string_view params() const { return detail::view(host_->params(run_)); }
  std::string_view profile() const { return detail::view(host_->profile(run_)); }
  std::string_view configuration() const { return detail::view(host_->configuration(run_)); }
  std::string_view format() const { return detail::view(host_->format(run_)); }
  std::string_view id() const { return detail::view(host_->run_id(run_)); }
  std::string_view caller() const { return detail::view(host_->caller(run_)); }

  // -- telling the caller how it goes --
  void progress(double fraction, std::string_view note = {}) const {
    const double bounded = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    host_->progress(run_, static_cast<std::uint32_t>(bounded * 10000), detail::str(note));
  }
  void log(Level level, std::string_view message) const {
    host_->log(run_, static_cast<std::uint32_t>(level), detail::str(message));
  }
  void output(std::string_view bytes) const { host_->output(run_, detail::str(bytes)); }

  // -- time --
  int cancel_fd() const { return host_->cancel_fd(run_); }
  bool cancelled() const {
    pollfd poll_cancel{cancel_fd(), POLLIN, 0};
    return ::poll(&poll_cancel, 1, 0) > 0;
  }
  void check() const {
    if (cancelled()) throw Cancelled{};
  }
  std::chrono::milliseconds remaining() const { return std::chrono::milliseconds{host_->remaining_ms(run_)}; }
  // Waits until `fd` is ready for `events` (poll(2)). False: `limit` passed first. Throws Cancelled.
  bool wait(int fd, short events, std::chrono::milliseconds limit = std::chrono::milliseconds::max()) const {
    const auto end = limit == std::chrono::milliseconds::max() ? std::chrono::steady_clock::time_point::max()
                                                               : std::chrono::steady_clock::now() + limit;
    for (;;) {
      int timeout = -1;
      if (end != std::chrono::steady_clock::time_point::max()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
        timeout = left < 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left, 1 << 30));
      }
      pollfd both[2] = {{fd, events, 0}, {cancel_fd(), POLLIN, 0}};
      const int n = ::poll(both, 2, timeout);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw std::runtime_error("poll: " + std::string(std::strerror(errno)));
      if (both[1].revents) throw Cancelled{};
      if (both[0].revents) return true;
      if (n == 0) return false;
    }
  }

  // -- stopping the target --
  std::chrono::microseconds max_pause() const { return std::chrono::microseconds{host_->max_pause_us(run_)}; }
  void pause_begin() const { host_->pause_begin(run_); }
  std::chrono::microseconds pause_end() const { return std::chrono::microseconds{host_->pause_end(run_)}; }

  // -- artifacts, cache, console --
  Artifact artifact(std::string_view name, std::string_view media_type) const {
    const int fd = host_->artifact(run_, detail::str(name), detail::str(media_type));
    if (fd < 0) throw Failure("artifact " + std::string(name) + ": " + std::strerror(-fd));
    return {run_, host_, fd};
  }
  void adopt(int fd, std::string_view name, std::string_view media_type) const {
    const int error = host_->artifact_adopt(run_, fd, detail::str(name), detail::str(media_type));
    if (error < 0) throw Failure("artifact " + std::string(name) + ": " + std::strerror(-error));
  }
  int cache_fd() const { return host_->cache_fd(run_); }
  int stream() const { return host_->stream(run_); }

  // Ends the first phase (gather, then digest). Throws when the rights could not be dropped: the run must end then.
  void drop_rights() const {
    const int error = host_->drop_rights(run_);
    if (error < 0) throw std::runtime_error("drop_rights: " + std::string(std::strerror(-error)));
  }

  const void* extension(std::string_view id) const {
    return host_->extension ? host_->extension(run_, detail::str(id)) : nullptr;
  }
  hatch_run* handle() const { return run_; }  // what functions of an extension take

 private:
  hatch_run* run_;
  const hatch_host* host_;
};

// ---------------------------------------------------------------------------------------------------------------------
// Parameters. `params(auto& p)` of a hatch is compiled against both visitors:
//
//   p.optional("pause", pause, "How to hold the threads still").one_of({"least", "all", "none"});
//   p.required("queue", queue, "Queue to ping").length(1, 200);
//
// The type of the member gives the JSON type: bool, integers, double, std::string, std::vector of these.

namespace detail {
template <class T>
struct SchemaType;
template <>
struct SchemaType<bool> {
  static void describe(Object& o) { o.add("type", "boolean"); }
};
template <class N>
requires(std::integral<N> && !std::same_as<N, bool>) struct SchemaType<N> {
  static void describe(Object& o) { o.add("type", "integer"); }
};
template <std::floating_point N>
struct SchemaType<N> {
  static void describe(Object& o) { o.add("type", "number"); }
};
template <>
struct SchemaType<std::string> {
  static void describe(Object& o) { o.add("type", "string"); }
};
template <class T>
struct SchemaType<std::vector<T>> {
  static void describe(Object& o) {
    Object items;
    SchemaType<T>::describe(items);
    o.add("type", "array").add("items", items);
  }
};

template <class T>
void append_default(std::string& out, const std::vector<T>& list) {
  Array array;
  for (const T& element : list) array.add(element);
  array.append_to(out);
}
template <class T>
void append_default(std::string& out, const T& value) {
  append_value(out, value);
}
}  // namespace detail

// Writes the JSON Schema of a hatch's parameters.
class Describe {
 public:
  class Field {
   public:
    template <class T>
    Field(Describe& owner, std::string name, const T& value, const char* help, bool required)
        : owner_(owner), name_(std::move(name)), required_(required) {
      detail::SchemaType<T>::describe(schema_);
      schema_.add("description", help);
      if (!required) {
        std::string fallback;
        detail::append_default(fallback, value);
        schema_.add("default", Raw{fallback});
      }
    }
    Field(const Field&) = delete;
    ~Field() { owner_.close(name_, schema_, required_); }

    // The only values that are allowed.
    Field& one_of(std::initializer_list<const char*> values) {
      Array list;
      for (const char* value : values) list.add(value);
      return schema_.add("enum", list), *this;
    }
    template <class N>
    Field& range(N minimum, N maximum) {
      return schema_.add("minimum", minimum).add("maximum", maximum), *this;
    }
    // Of a string, in code points.
    Field& length(std::size_t minimum, std::size_t maximum) {
      return schema_.add("minLength", minimum).add("maxLength", maximum), *this;
    }
    // The whole string must match (ECMAScript regular expression).
    Field& pattern(const char* expression) { return schema_.add("pattern", expression), *this; }
    // Masked wherever it is stored, logged or sent.
    Field& secret() { return schema_.add("secret", true), *this; }
    // Giving this parameter a value other than its default raises the effect of the run.
    Field& effect(Effect raised) { return schema_.add("x-effect", name_of(raised)), *this; }
    // This value of the parameter raises the effect of the run.
    Field& effect(const char* value, Effect raised) {
      return schema_.add("x-effect", Object{}.add(value, name_of(raised))), *this;
    }

    // Giving this parameter a value other than its default takes that role: "viewer", "operator", "admin".
    Field& role(const char* least) { return schema_.add("x-role", least), *this; }

   private:
    static const char* name_of(Effect e) {
      return e == Effect::observe ? "observe" : e == Effect::act ? "act" : "disrupt";
    }
    Describe& owner_;
    std::string name_;
    Object schema_;
    bool required_;
  };

  template <class T>
  Field optional(const char* name, T& fallback, const char* help) {
    return {*this, name, fallback, help, false};
  }
  template <class T>
  Field required(const char* name, T& member, const char* help) {
    return {*this, name, member, help, true};
  }
  std::string schema() const {
    Object o;
    o.add("type", "object").add("properties", properties_);
    if (!required_.empty()) o.add("required", required_);
    return o.add("additionalProperties", false).json();
  }

 private:
  void close(const std::string& name, const Object& schema, bool required) {
    properties_.add(name, schema);
    if (required) required_.add(name);
  }
  Object properties_;
  Array required_;
};

// Reads checked parameters into the members of a hatch.
class Fill {
 public:
  struct Field {  // the constraints were the host's business
    Field& one_of(std::initializer_list<const char*>) { return *this; }
    template <class N>
    Field& range(N, N) {
      return *this;
    }
    Field& length(std::size_t, std::size_t) { return *this; }
    Field& pattern(const char*) { return *this; }
    Field& secret() { return *this; }
    Field& effect(Effect) { return *this; }
    Field& effect(const char*, Effect) { return *this; }
    Field& role(const char*) { return *this; }
  };

  Fill(hatch_run* run, const hatch_host* host) : run_(run), host_(host) {}

  template <class T>
  Field optional(const char* name, T& member, const char*) {
    hatch_str value{};
    if (host_->param(run_, detail::str(name), &value) == 1) read(name, detail::view(value), member);
    return {};
  }
  template <class T>
  Field required(const char* name, T& member, const char* help) {
    return optional(name, member, help);
  }

 private:
  [[noreturn]] static void unreadable(std::string_view name) {
    throw std::runtime_error("parameter " + std::string(name) + " does not fit its member");
  }
  static void read(std::string_view, std::string_view text, std::string& member) { member.assign(text); }
  static void read(std::string_view, std::string_view text, bool& member) { member = text == "true"; }
  template <class N>
  requires((std::integral<N> && !std::same_as<N, bool>) ||
           std::floating_point<N>) static void read(std::string_view name, std::string_view text, N& member) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), member);
    if (error != std::errc{} || end != text.data() + text.size()) unreadable(name);
  }
  // A checked JSON array of scalars.
  template <class T>
  static void read(std::string_view name, std::string_view text, std::vector<T>& member) {
    member.clear();
    std::size_t at = 0;
    const auto blank = [&] {
      while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r')) ++at;
    };
    const auto expect = [&](char c) {
      blank();
      if (at >= text.size() || text[at] != c) return false;
      return ++at, true;
    };
    if (!expect('[')) unreadable(name);
    if (expect(']')) return;
    do {
      blank();
      T element{};
      if constexpr (std::same_as<T, std::string>) {
        if (!read_quoted(text, at, element)) unreadable(name);
      } else {
        const std::size_t end = std::min(text.find_first_of(",] \n\t\r", at), text.size());
        read(name, text.substr(at, end - at), element);
        at = end;
      }
      member.push_back(std::move(element));
    } while (expect(','));
    if (!expect(']')) unreadable(name);
  }

  hatch_run* run_;
  const hatch_host* host_;
};

// ---------------------------------------------------------------------------------------------------------------------
// The barrier: the only place where C++ meets C. No exception gets past here.

namespace detail {

inline void hand_over(hatch_run* run, const hatch_host* host, Result result) {
  host->result(run, str(result.take_json()));
  for (const auto& [name, text] : result.renderings()) host->rendering(run, str(name), str(text));
}

template <class H, Result (H::*function)(Run&)>
std::int32_t barrier(hatch_run* run, const hatch_host* host) noexcept {
  try {
    H hatch{};
    Fill fill{run, host};
    if constexpr (requires { hatch.params(fill); }) hatch.params(fill);
    Run wrapped{run, host};
    hand_over(run, host, (hatch.*function)(wrapped));
    return HATCH_OK;
  } catch (const Failure& failure) {
    if (failure.result) hand_over(run, host, *failure.result);
    std::vector<const char*> missing;
    for (const std::string& entry : failure.missing) missing.push_back(entry.c_str());
    missing.push_back(nullptr);
    host->fail(run, str(failure.code), str(failure.what()), missing.data(),
               failure.remedy.empty() ? nullptr : failure.remedy.c_str());
    return HATCH_FAILED;
  } catch (const Cancelled&) {
    return HATCH_CANCELLED;
  } catch (const std::exception& error) {
    host->fail(run, str("run-failed"), str(std::string("the plugin met its own bug: ") + error.what()), nullptr,
               nullptr);
    return HATCH_BROKEN;
  } catch (...) {
    host->fail(run, str("run-failed"),
               str("the plugin met its own bug: it threw something that is not a std::exception"), nullptr, nullptr);
    return HATCH_BROKEN;
  }
}

inline const char* const* list_or_null(const char* const* list) { return list[0] ? list : nullptr; }

// The C description of one hatch; built once, lives as long as the object.
template <class H>
const hatch_hatch* describe() {
  static const std::string schema = [] {
    Describe describe;
    H hatch{};
    if constexpr (requires { hatch.params(describe); }) hatch.params(describe);
    return describe.schema();
  }();
  constexpr const About& about = H::about;
  static const hatch_hatch description = [&] {
    hatch_hatch d{};
    d.size = sizeof d;
    d.effect = static_cast<std::uint32_t>(about.effect);
    d.target = static_cast<std::uint32_t>(about.target);
    d.flags = about.flags;
    d.timeout_ms = static_cast<std::uint32_t>(about.timeout.count());
    d.max_pause_us = static_cast<std::uint32_t>(about.max_pause.count());
    d.cooldown_ms = static_cast<std::uint32_t>(about.cooldown.count());
    d.id = about.id;
    d.kind = about.kind;
    d.title = about.title;
    d.documentation = about.documentation;
    d.parameters = schema.c_str();
    d.capabilities = list_or_null(about.capabilities);
    d.renderings = list_or_null(about.renderings);
    d.artifact_types = list_or_null(about.artifact_types);
    d.requirements = list_or_null(about.requirements);
    d.run = &barrier<H, &H::run>;
    if constexpr (requires { &H::preflight; }) d.preflight = &barrier<H, &H::preflight>;
    return d;
  }();
  return &description;
}

struct PluginText {
  const char* name;
  const char* version;
  const char* summary;
  const char* configuration = nullptr;  // JSON Schema of the plugin's own keys
  const char* profile = nullptr;        // JSON Schema of one profile
  void (*prepare)() = nullptr;          // hatch_plugin.prepare
};

template <class... H>
const hatch_plugin* entry(const PluginText& text) noexcept {
  try {
    static const hatch_hatch* const hatches[] = {describe<H>()..., nullptr};
    static const hatch_plugin plugin{
        HATCH_ABI_MAGIC, sizeof(hatch_plugin), HATCH_ABI_MAJOR,    HATCH_ABI_MINOR, 0,       text.name,
        text.version,    text.summary,         text.configuration, text.profile,    hatches, text.prepare};
    return &plugin;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace detail
}  // namespace hatch

// HATCH_PLUGIN("mine", "1.0.0", "What it is for", FirstHatch, SecondHatch)
#define HATCH_PLUGIN(name, version, summary, ...)                        \
  extern "C" HATCH_EXPORT const hatch_plugin* hatch_plugin_entry(void) { \
    return hatch::detail::entry<__VA_ARGS__>({name, version, summary});  \
  }
// The same with JSON Schemas of the plugin's configuration and of a profile (nullptr: none).
#define HATCH_PLUGIN_CONFIGURED(name, version, summary, configuration, profile, ...)            \
  extern "C" HATCH_EXPORT const hatch_plugin* hatch_plugin_entry(void) {                        \
    return hatch::detail::entry<__VA_ARGS__>({name, version, summary, configuration, profile}); \
  }
// And with a function without parameters that does ahead of time what each run would do again: see hatch_plugin.prepare. An
// exception that leaves it ends the process.
#define HATCH_PLUGIN_PREPARED(name, version, summary, configuration, profile, prepare, ...)              \
  extern "C" HATCH_EXPORT const hatch_plugin* hatch_plugin_entry(void) {                                 \
    return hatch::detail::entry<__VA_ARGS__>({name, version, summary, configuration, profile, prepare}); \
  }
