#include "stack/go/goroutines.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "hatch/json.hpp"
#include "stack/frame_table.hpp"

namespace stack::go {
namespace {

constexpr std::size_t max_frames_in_all = 500'000;  // distinct ones
constexpr std::size_t max_name = 4096, max_state = 256;

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

void add_member(RuntimeThread& thread, const char* name, std::string_view text) {
  std::string quoted;
  hatch::append_quoted(quoted, text);
  thread.members.emplace_back(name, std::move(quoted));
}

// "/srv/shop.go:12 +0x1d", "/srv/shop.go:12"
void set_place(std::string_view text, Frame& frame) {
  if (const std::size_t offset = text.find(" +0x"); offset != text.npos) text = text.substr(0, offset);
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) return;
  std::string_view digits = text.substr(colon + 1);
  const auto line = take_number(digits);
  if (!line || !digits.empty() || *line > 1'000'000'000) return;
  frame.file = text.substr(0, std::min(colon, max_name));
  frame.line = static_cast<int>(*line);
}

Frame frame_of(std::string_view function) {
  Frame frame;
  frame.kind = "go";
  frame.function = function.substr(0, max_name);
  return frame;
}

// As one goroutine or group came. Frames of the runtime itself are left out where others are shown.
class Stack {
 public:
  Stack(FrameTable& table, unsigned max_frames) : table_(table), max_frames_(max_frames) {}

  void add(Frame frame) {
    outermost_ = frame.function;
    if (table_.frames.size() >= max_frames_in_all || all_.size() >= 65'536) {
      cut_ = true;
      return;
    }
    const bool hidden = is_hidden(frame.function);
    const std::uint32_t index = table_.add(std::move(frame));
    all_.push_back(index);
    if (!hidden) shown_.push_back(index);
  }
  // Where Go left frames out of its text.
  void leave_a_gap(std::string_view words) {
    add(frame_of("(" + std::string(words) + ")"));
    outermost_.clear();
    gap_ = true;
  }

  // Into the thread, whose name is that of its outermost function: what it was started with.
  void give_to(RuntimeThread& thread) {
    thread.frames = std::move(shown_.empty() ? all_ : shown_);
    thread.truncated = gap_ || cut_ || thread.frames.size() > max_frames_;
    if (thread.frames.size() > max_frames_) thread.frames.resize(max_frames_);
    thread.name = outermost_ == "runtime.main" ? "main.main" : std::move(outermost_);
    all_.clear(), shown_.clear(), outermost_.clear();
    gap_ = cut_ = false;
  }

 private:
  FrameTable& table_;
  unsigned max_frames_;
  std::vector<std::uint32_t> all_, shown_;
  std::string outermost_;
  bool gap_ = false, cut_ = false;
};

class Reader {
 public:
  Reader(unsigned max_frames, RuntimeStacks& stacks) : stacks_(stacks), stack_(frames_, max_frames) {}

  bool read(std::string_view text) {
    if (!text.starts_with("goroutine ")) return false;
    while (!text.empty()) read_line(take_line(text));
    end_block();
    stacks_.frames = std::move(frames_.frames);
    return true;
  }

 private:
  void read_line(std::string_view line) {
    if (line.starts_with("goroutine ") && begin_block(line)) return;
    if (!within_) return;
    if (line.empty()) return end_block();
    if (line.starts_with('\t')) return read_place(line.substr(1));
    // The places belong to the function of the line before.
    end_frame();
    if (line.starts_with("[originating from goroutine ")) {
      ancestors_ = true;  // GODEBUG=tracebackancestors: stacks of who created it
    } else if (ancestors_) {
      return;
    } else if (line.starts_with("...") && line.ends_with("frames elided...")) {
      stack_.leave_a_gap(line.substr(3, line.size() - 6));
    } else if (take_prefix(line, "created by ")) {
      read_creator(line);
    } else {
      read_function(line);
    }
  }

  // "goroutine 18 [chan receive, 5 minutes, locked to thread]:"; since 1.23 with GOTRACEBACK=system
  // "goroutine 18 gp=0xc0000061c0 m=3 mp=0xc000080008 [running]:"
  bool begin_block(std::string_view line) {
    line.remove_prefix(10);
    const auto id = take_number(line);
    const std::size_t open = line.find('[');
    if (!id || open == line.npos || !line.starts_with(' ') || !line.ends_with("]:")) return false;
    end_block();
    thread_ = {};
    thread_.id = "goroutine " + std::to_string(*id);
    id_ = *id;
    read_state(line.substr(open + 1, line.size() - open - 3).substr(0, max_state));
    within_ = true;
    writer_ = ancestors_ = false;
    return true;
  }

  void read_state(std::string_view text) {
    for (bool first = true; !text.empty(); first = false) {
      const std::size_t end = std::min(text.find(", "), text.size());
      std::string_view word = text.substr(0, end);
      text.remove_prefix(std::min(end + 2, text.size()));
      if (first) {
        if (word.ends_with(" (scan)")) word.remove_suffix(7);  // the collector looks at it
        thread_.state = word;
        thread_.running = word == "running";
        continue;
      }
      std::string_view unit = word;
      const auto number = take_number(unit);
      if (number && unit == " minutes")
        thread_.members.emplace_back("waiting_minutes", std::to_string(*number));
      else if (word == "locked to thread")
        thread_.members.emplace_back("locked_to_thread", "true");
      if (!thread_.remark.empty()) thread_.remark += ", ";
      thread_.remark += number && unit == " minutes" ? "for " + std::string(word) : std::string(word);
    }
  }

  // "main.(*Shop).serve(0xc000010000, {0x1, 0x2})"; of a function that was inlined "main.take(...)"
  void read_function(std::string_view line) {
    const std::size_t open = line.rfind('(');
    const bool call = open != line.npos && open > 0 && line.ends_with(')');
    frame_ = frame_of(call ? line.substr(0, open) : line);
    frame_->inlined = call && line.substr(open) == "(...)";
    writer_ |= frame_->function == "runtime/pprof.writeGoroutineStacks";
  }

  void read_place(std::string_view line) {
    if (line.starts_with("goroutine running on other thread")) {
      thread_.error = "it ran, and its stack was not to be had";
    } else if (frame_) {
      set_place(line, *frame_);
      end_frame();
    }
  }

  void end_frame() {
    if (frame_) stack_.add(std::move(*frame_));
    frame_.reset();
  }

  // "main.main", since 1.21 "main.main in goroutine 1"
  void read_creator(std::string_view line) {
    constexpr std::string_view in = " in goroutine ";
    std::uint64_t creator = 0;
    if (const std::size_t at = line.rfind(in); at != line.npos) {
      std::string_view digits = line.substr(at + in.size());
      creator = take_number(digits).value_or(0);
      line = line.substr(0, at);
    }
    add_member(thread_, "created_by", line.substr(0, max_name));
    if (creator != 0) add_member(thread_, "creator", "goroutine " + std::to_string(creator));
    // Who waits for the end of our own connection.
    reader_of_writer_ =
        writer_id_ != 0 && creator == writer_id_ && line == "net/http.(*connReader).startBackgroundRead";
    ancestors_ = true;  // its place is no frame
  }

  void end_block() {
    if (!within_) return;
    end_frame();
    within_ = false;
    stack_.give_to(thread_);
    // The first one is the one that wrote this (runtime.Stack), for nobody but us.
    const bool own = (writer_ && thread_.running && writer_id_ == 0) || std::exchange(reader_of_writer_, false);
    if (writer_ && own) writer_id_ = id_;
    if (own || stacks_.threads.size() >= max_goroutines) return;
    stacks_.threads.push_back(std::move(thread_));
  }

  RuntimeStacks& stacks_;
  FrameTable frames_;
  Stack stack_;
  RuntimeThread thread_;
  std::optional<Frame> frame_;
  std::uint64_t id_ = 0, writer_id_ = 0;
  bool within_ = false, writer_ = false, ancestors_ = false, reader_of_writer_ = false;
};

}  // namespace

bool is_hidden(std::string_view function) {
  constexpr std::string_view own = "runtime.";
  return function.starts_with(own) &&
         !(function.size() > own.size() && function[own.size()] >= 'A' && function[own.size()] <= 'Z');
}

bool parse_goroutines(std::string_view text, unsigned max_frames, RuntimeStacks& stacks) {
  return Reader{max_frames, stacks}.read(text);
}

// "3 @ 0x43a1d6 0x40b0cc", perhaps "# labels: {…}", then a line a frame: "#", its address, "main.wait+0x35" and
// "/srv/shop.go:17" behind one or more tabs each.
bool parse_goroutine_groups(std::string_view text, unsigned max_frames, RuntimeStacks& stacks) {
  if (!take_line(text).starts_with("goroutine profile: total ")) return false;
  FrameTable frames;
  Stack stack{frames, max_frames};
  std::uint64_t count = 0;
  bool writer = false;
  const auto end_group = [&] {
    RuntimeThread group;
    stack.give_to(group);
    // One of those that write such a text is ours.
    if (std::exchange(writer, false) && count > 0) --count;
    if (count == 0 || stacks.threads.size() >= max_goroutines) return;
    group.id = "group " + std::to_string(stacks.threads.size() + 1);
    group.count = std::exchange(count, 0);
    group.remark =
        std::to_string(group.count) + (group.count == 1 ? " goroutine stands here" : " goroutines stand here");
    group.members.emplace_back("goroutines", std::to_string(group.count));
    stacks.threads.push_back(std::move(group));
  };
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_prefix(line, "#\t")) {
      const auto next = [&] {
        line.remove_prefix(std::min(line.find_first_not_of('\t'), line.size()));
        const std::size_t end = std::min(line.find('\t'), line.size());
        const std::string_view column = line.substr(0, end);
        line.remove_prefix(end);
        return column;
      };
      next();
      std::string_view function = next();
      if (const std::size_t offset = function.rfind("+0x"); offset != function.npos)
        function = function.substr(0, offset);
      writer |=
          function == "runtime/pprof.writeGoroutine" || function == "runtime/pprof.runtime_goroutineProfileWithLabels";
      Frame frame = frame_of(function);
      set_place(next(), frame);
      if (count > 0 && !function.empty()) stack.add(std::move(frame));
      continue;
    }
    if (line.starts_with('#')) continue;
    end_group();
    const auto number = take_number(line);
    if (number && line.starts_with(" @ ")) count = std::min<std::uint64_t>(*number, 1'000'000'000);
  }
  end_group();
  stacks.frames = std::move(frames.frames);
  return true;
}

}  // namespace stack::go
