// The host's side of hatch/hatch.h within a run: a table of functions over the run channel.
//
// Everything that the plugin passes is bounded and made valid before it is sent. Nothing here may throw into the
// plugin: each function is noexcept, so that running out of memory ends the run and not the contract.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "hatch/hatch.h"
#include "hatch/mask.hpp"
#include "worker/run.hpp"

namespace hatchd::worker {

class Host {
 public:
  static constexpr std::size_t max_piece = 64 * 1024;  // of output or log, masked at once
  static constexpr std::size_t max_line = 4096;        // of output that waits for its end
  static constexpr std::size_t max_events = 10'000;
  static constexpr std::size_t max_event_bytes = 16 * 1024 * 1024;

  explicit Host(Task& task);

  // Calls run() or preflight() and sends the answer: rendering, closing.
  void call();

 private:
  friend struct Table;  // host.cpp: the functions of hatch_host

  // Asked before a text is masked, so that a flood costs little once it is dropped; counts what finds none.
  bool has_room(std::size_t bytes);
  void event(boost::json::object body, std::size_t bytes);
  void note_dropped();
  void flush_output();
  void add_output(std::string_view bytes);
  void tell_output(const std::string& text);
  int set_result(std::string_view json);
  int set_rendering(std::string_view name, std::string_view text);
  int send_text(std::string_view type, boost::json::object body, std::string_view text);
  // Sends a request of the artifact family and waits for the answer with its tag; 0 or a negative errno.
  int request(std::string_view type, boost::json::object body, UniqueFd* descriptor);
  int open_artifact(std::string_view name, std::string_view media_type);
  int commit_artifact(int fd);
  void abort_artifact(int fd);
  int adopt_artifact(int fd, std::string_view name, std::string_view media_type);
  int choose_network(bool of_target);
  int begin_to_act();
  bool take_leave_to_act(const link::Message& message);  // whether it is that
  void pause_begin();
  std::uint64_t pause_end();
  void close_run(std::string_view status, const Problem* problem = nullptr);

  Task& task_;
  // Texts that the plugin borrows.
  std::string params_text_, profile_text_, configuration_text_, caller_text_, log_text_;
  std::shared_ptr<const hatch::Mask> mask_;
  std::string mask_text_;
  std::map<std::string, std::string, std::less<>> param_texts_;

  std::size_t events_ = 0, event_bytes_ = 0, dropped_ = 0;
  bool unheard_ = false;     // the other side stopped reading events
  std::string output_tail_;  // the begin of a line, or of a code point, whose end has not come yet

  std::int64_t last_tag_ = 0;
  std::map<int, std::int64_t> artifacts_;  // descriptor to tag, open ones

  bool has_result_ = false, has_text_ = false;
  std::string bad_result_, result_;
  bool failed_ = false;
  Problem problem_;

  std::mutex pause_mutex_;
  unsigned pause_depth_ = 0;
};

}  // namespace hatchd::worker
