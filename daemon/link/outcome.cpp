#include "link/outcome.hpp"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>

#include "base/json.hpp"
#include "hatch/json.hpp"

namespace hatchd::link {

namespace json = boost::json;

namespace {

// Walks through a result without keeping it: only the top level's "verdict" matters here.
struct VerdictHandler {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = 1024 * 1024;
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);
  using error_code = json::error_code;

  unsigned depth = 0;
  bool object_on_top = false, found = false, reading = false;
  std::string key, verdict;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) {
    if (depth == 0) object_on_top = true;
    ++depth;
    reading = false;
    return true;
  }
  bool on_object_end(std::size_t, error_code&) { return leave(); }
  bool on_array_begin(error_code&) {
    ++depth;
    reading = false;
    return true;
  }
  bool on_array_end(std::size_t, error_code&) { return leave(); }
  bool on_key_part(json::string_view part, std::size_t, error_code&) {
    if (depth == 1) key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, std::size_t, error_code&) {
    if (depth == 1) {
      key.append(part.data(), part.size());
      reading = object_on_top && key == "verdict";
      key.clear();
      if (reading) {
        found = false;
        verdict.clear();
      }
    }
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, error_code&) {
    if (reading) verdict.append(part.data(), part.size());
    return true;
  }
  bool on_string(json::string_view part, std::size_t, error_code&) {
    if (reading) {
      verdict.append(part.data(), part.size());
      found = true;
    }
    return scalar();
  }
  bool on_number_part(json::string_view, error_code&) { return true; }
  bool on_int64(std::int64_t, json::string_view, error_code&) { return scalar(); }
  bool on_uint64(std::uint64_t, json::string_view, error_code&) { return scalar(); }
  bool on_double(double, json::string_view, error_code&) { return scalar(); }
  bool on_bool(bool, error_code&) { return scalar(); }
  bool on_null(error_code&) { return scalar(); }
  bool on_comment_part(json::string_view, error_code&) { return true; }
  bool on_comment(json::string_view, error_code&) { return true; }

 private:
  bool scalar() {
    reading = false;
    return true;
  }
  bool leave() {
    --depth;
    return true;
  }
};

// A rendering as a terminal may get it. Most are plain ASCII: those are not copied.
std::string made_printable(std::string text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte < 0x7F) || c == '\n' || c == '\t';
  });
  return plain ? std::move(text) : hatch::printable(text, true);
}

}  // namespace

std::string_view to_string(RunState state) {
  switch (state) {
    case RunState::succeeded: return "succeeded";
    case RunState::failed: return "failed";
    case RunState::cancelled: return "cancelled";
    case RunState::timed_out: return "timed-out";
    case RunState::crashed: return "crashed";
  }
  return "crashed";
}

std::string death_text(std::string_view how, int status) {
  if (how != "signal") return "exit status " + std::to_string(status);
  const char* name = sigabbrev_np(status);
  return "signal " + std::to_string(status) + (name ? " (SIG" + std::string(name) + ")" : "");
}

Result<std::string> verdict_of(std::string_view text) {
  json::parse_options options;
  options.max_depth = 64;
  json::basic_parser<VerdictHandler> parser{options};
  json::error_code error;
  std::size_t used = parser.write_some(false, text.data(), text.size(), error);
  while (!error && used < text.size() &&
         (text[used] == ' ' || text[used] == '\n' || text[used] == '\t' || text[used] == '\r'))
    ++used;
  const VerdictHandler& seen = parser.handler();
  if (error) return refuse("run-failed", "not JSON: " + error.message() + " at byte " + std::to_string(used));
  if (used < text.size()) return refuse("run-failed", "not JSON: more text behind the value");
  if (!seen.object_on_top) return refuse("run-failed", "not a JSON object");
  if (!seen.found) return refuse("run-failed", "no member \"verdict\" with a sentence");
  return seen.verdict;
}

bool Outcome::take(Message& message) {
  const json::object& body = message.body;
  if (message.type == "result") {
    take_result(message);
  } else if (message.type == "rendering") {
    take_rendering(message);
  } else if (message.type == "closing") {
    const std::string status = text_of(body, "status");
    closing_ = status == "ok"          ? Closing::ok
               : status == "failed"    ? Closing::failed
               : status == "cancelled" ? Closing::cancelled
                                       : Closing::broken;
    take_pause(body);
    if (const json::object* problem = object_of(body, "problem")) closing_problem_ = problem_from_json(*problem);
  } else if (message.type == "ended") {
    ended_ = true;
    death_ = death_text(text_of(body, "how"), static_cast<int>(number_of(body, "status")));
    asked_ = text_of(body, "asked");
    killed_ = flag_of(body, "killed");
    take_pause(body);
  } else {
    return false;
  }
  return true;
}

void Outcome::take_pause(const json::object& body) {
  longest_pause_us_ = std::max(longest_pause_us_, number_of(body, "longest_pause_us"));
}

void Outcome::plugin_gone(std::string_view how) {
  if (ended_) return;
  ended_ = true;
  death_ = "its plugin's process, " + std::string(how);
}

// What a message carries, in itself or behind its descriptor.
Result<std::string> Outcome::text_in(Message& message) {
  if (!message.fds.empty()) return read_memfd(message.fds.front().get(), max_result);
  return text_of(message.body, "text");
}

void Outcome::take_result(Message& message) {
  if (message.fds.empty() && !message.body.contains("text")) return;
  result_.clear();  // the last call counts, also when it was a bad one
  verdict_.clear();
  auto text = text_in(message);
  if (!text) {
    bad_result_ = text.error().detail;
    return;
  }
  auto verdict = verdict_of(*text);
  if (!verdict) {
    bad_result_ = verdict.error().detail;
    return;
  }
  bad_result_.clear();
  result_ = std::move(*text);
  verdict_ = std::move(*verdict);
}

void Outcome::take_rendering(Message& message) {
  const std::string name = text_of(message.body, "name");
  if ((message.fds.empty() && !message.body.contains("text")) || name.empty() || name.size() > 64) return;
  const auto same =
      std::find_if(renderings_.begin(), renderings_.end(), [&](const auto& r) { return r.first == name; });
  if (same == renderings_.end() && renderings_.size() >= max_renderings) return;
  auto text = text_in(message);
  if (!text) return;
  if (same != renderings_.end())
    same->second = made_printable(std::move(*text));
  else
    renderings_.emplace_back(name, made_printable(std::move(*text)));
}

RunState Outcome::state() const { return end().state; }

std::optional<Problem> Outcome::problem() const {
  End is = end();
  if (is.state == RunState::succeeded) return std::nullopt;
  is.problem.detail = hatch::printable(is.problem.detail, true);
  return std::move(is.problem);
}

Outcome::End Outcome::end() const {
  const auto failed = [](std::string detail) {
    return End{RunState::failed, Problem{"run-failed", std::move(detail)}};
  };
  const std::string ignored = killed_ ? "; it ignored the request to stop and was killed" : "";
  const End by_deadline{RunState::timed_out,
                        Problem{"run-timeout", "the run did not finish within its time limit" + ignored}};
  const End by_request{RunState::cancelled, Problem{"run-cancelled", "the run was cancelled" + ignored}};
  const auto by_pause = [&] { return failed("the run held the target longer than its pause budget and was killed"); };
  const auto by_departure = [&] { return failed("the target or the front went away during the run"); };

  switch (closing_) {
    case Closing::ok:
      if (!bad_result_.empty()) return failed("the plugin returned an invalid result: " + bad_result_);
      if (result_.empty()) return failed("the plugin returned no result");
      return {RunState::succeeded, {}};
    case Closing::failed: {
      Problem problem = closing_problem_;
      if (problem.code != "rights-missing") problem.code = "run-failed";
      if (problem.detail.empty()) problem.detail = "the hatch failed and did not say why";
      return {RunState::failed, std::move(problem)};
    }
    case Closing::broken: {
      Problem problem = closing_problem_;
      problem.code = "run-failed";
      if (problem.detail.empty()) problem.detail = "the plugin met its own bug and did not say which";
      return {RunState::failed, std::move(problem)};
    }
    case Closing::cancelled:
    case Closing::none: break;
  }
  if (asked_ == "deadline") return by_deadline;
  if (asked_ == "pause") return by_pause();
  if (asked_ == "gone") return by_departure();
  if (asked_ == "cancelled" || closing_ == Closing::cancelled) return by_request;
  const bool quiet = death_ == "exit status 0";
  Problem crash{"run-crashed",
                "the run ended with " + death_ + (quiet ? " without an answer" : ", before it answered")};
  if (death_ == death_text("signal", SIGKILL)) {
    crash.detail += "; hatchd did not send it, the kernel does where memory ran out";
    crash.remedy =
        "look for \"oom-kill\" in the kernel's log, ask for less, or give hatchd more (MemoryMax=, the container's "
        "limit)";
  }
  return {RunState::crashed, std::move(crash)};
}

}  // namespace hatchd::link
