// What became of a run: the one place that turns what the run said on its channel, and what its plugin process saw when
// it ended, into a state and a problem. Both callers of runs use it, the front and `hatchd exec`.
//
// No I/O of its own, and no trust: the plugin process may be captured, so the result is checked again, renderings are
// made printable, sizes and counts are bounded. take() costs time in proportion to the result; events and artifacts are
// the caller's affair.
//
// The order: feed every message of the run channel until it is decided(), or `ended` has come; then drain the channel once
// more until it says nothing or ended (what a dead process sent is still in the socket). Then ask for state() and problem().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/problem.hpp"
#include "link/channel.hpp"

namespace hatchd::link {

enum class RunState { succeeded, failed, cancelled, timed_out, crashed };
std::string_view to_string(RunState state);  // "succeeded", "failed", "cancelled", "timed-out", "crashed"

// "signal 11 (SIGSEGV)", "exit status 3".
std::string death_text(std::string_view how, int status);

// The sentence "verdict" of a result: a JSON object with at least that string. Refused (run-failed) with what is wrong.
// Constant memory beside the verdict.
Result<std::string> verdict_of(std::string_view json);

class Outcome {
 public:
  static constexpr std::size_t max_result = 64 * 1024 * 1024;
  static constexpr std::size_t max_renderings = 8;
  // A result or rendering of at most so many bytes stands in its message; more is in a descriptor.
  static constexpr std::size_t max_inline = 8 * 1024;

  // Takes `result`, `rendering`, `closing` (run channel) and `ended` (plugin's channel). False: not one of these.
  bool take(Message& message);
  // In place of `ended`, when the plugin process itself went away; `how`: death_text().
  void plugin_gone(std::string_view how);

  bool ended() const { return ended_; }
  // The run has said how it went, so that its process's end changes nothing.
  bool decided() const { return closing_ != Closing::none && closing_ != Closing::cancelled; }
  RunState state() const;                  // once ended or decided
  std::optional<Problem> problem() const;  // absent when succeeded

  // As far as the run came; a failed run may have one. Empty: none. Valid JSON, as the plugin wrote it.
  std::string& result() { return result_; }
  std::string& verdict() { return verdict_; }
  // The run adds a "text" of its own making to a result without one; a run that was killed may lack it.
  std::vector<std::pair<std::string, std::string>>& renderings() { return renderings_; }
  std::int64_t longest_pause_us() const { return longest_pause_us_; }

 private:
  struct End {
    RunState state;
    Problem problem;
  };
  End end() const;
  static Result<std::string> text_in(Message& message);
  void take_result(Message& message);
  void take_rendering(Message& message);
  void take_pause(const boost::json::object& body);

  enum class Closing { none, ok, failed, cancelled, broken };
  Closing closing_ = Closing::none;
  Problem closing_problem_;
  std::string bad_result_;  // why the last result was not taken
  std::string result_, verdict_;
  std::vector<std::pair<std::string, std::string>> renderings_;
  bool ended_ = false, killed_ = false;
  std::string death_, asked_;
  std::int64_t longest_pause_us_ = 0;
};

}  // namespace hatchd::link
