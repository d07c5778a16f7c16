#include "stack/render.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <unordered_set>

#include "hatch/json.hpp"

namespace stack {
namespace {

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

// "libc.so.6+0x8ce96", or the bare address where no module is.
std::string place(const Frame& frame) {
  return frame.in_module ? frame.module + "+" + hex(frame.offset) : hex(frame.offset);
}

std::string frame_json(const Frame& frame) {
  hatch::Object o;
  if (!frame.function.empty()) o.add("function", frame.function);
  if (!frame.file.empty()) o.add("file", frame.file).add("line", frame.line);
  if (frame.in_module) o.add("module", frame.module);
  if (frame.is_native()) o.add("offset", frame.offset);
  o.add("kind", frame.kind);
  if (frame.inlined) o.add("inlined", true);
  return o.json();
}

// Puts stacks together from pieces, of which each distinct frame has one. A thousand threads of one pool stand in the
// same place: the stack before is copied whole where it comes again.
class Stacks {
 public:
  Stacks(const std::vector<std::string>& pieces, char between) : pieces_(pieces), between_(between) {}

  // `number`: appends what stands before a piece.
  template <class Number>
  void append(std::string& out, std::span<const std::uint32_t> frames, const Number& number) {
    if (size_ > 0 && std::equal(frames.begin(), frames.end(), last_.begin(), last_.end())) {
      const std::size_t begin = out.size();
      out.append(out, begin_, size_);
      begin_ = begin;
      return;
    }
    begin_ = out.size();
    for (std::size_t i = 0; i < frames.size(); ++i) {
      if (i && between_) out += between_;
      number(out, i);
      out += pieces_[frames[i]];
    }
    size_ = out.size() - begin_;
    last_ = frames;
  }

  // Of all the stacks of `process` at most.
  std::size_t size_of(const ShownProcess& process) const {
    std::size_t size = 0;
    for (const ShownThread& thread : process.threads) {
      size += thread.name.size() + thread.error.size() + 160;
      for (const std::uint32_t frame : thread.frames) size += pieces_[frame].size() + 8;
    }
    return size;
  }

 private:
  const std::vector<std::string>& pieces_;
  char between_;
  std::span<const std::uint32_t> last_;
  std::size_t begin_ = 0, size_ = 0;
};

// How many threads an entry stands for.
std::size_t weight_of(const ShownThread& thread) { return thread.runtime ? thread.runtime->count : 1; }

std::size_t weight_of(const ShownProcess& process, const std::vector<std::size_t>& members) {
  std::size_t all = 0;
  for (const std::size_t member : members) all += weight_of(process.threads[member]);
  return all;
}

void add_id(hatch::Array& list, const ShownThread& thread) {
  if (!thread.id.empty())
    list.add(thread.id);
  else
    list.add(thread.tid);
}

// One entry of threads[]; with `group` one for all threads that show this stack.
void append_thread(std::string& out, const ShownProcess& process, const std::vector<std::size_t>& members, bool group,
                   Stacks& stacks) {
  const ShownThread& thread = process.threads[members.front()];
  hatch::Object o;
  o.add("pid", process.pid);
  if (!thread.id.empty())
    o.add("id", thread.id);
  else
    o.add("id", thread.tid);
  if (!thread.id.empty() && thread.tid) o.add("tid", thread.tid);
  o.add("name", thread.name).add("state", thread.state).add("running", thread.running);
  if (!thread.waiting_on.empty()) o.add("waiting_on", thread.waiting_on);
  o.add("truncated", thread.truncated);
  if (!thread.error.empty()) o.add("error", thread.error);
  if (thread.runtime)
    for (const auto& [name, json] : thread.runtime->members) o.add(name, hatch::Raw{json});
  if (group) {
    hatch::Array ids, names;
    for (const std::size_t member : members) {
      add_id(ids, process.threads[member]);
      names.add(process.threads[member].name);
    }
    o.add("count", weight_of(process, members)).add("ids", ids).add("names", names);
  }
  o.append_to(out);
  out.back() = ',';
  out += "\"frames\":[";
  stacks.append(out, thread.frames, [](std::string&, std::size_t) {});
  out += "]}";
}

std::string state_word(const ShownThread& thread) {
  if (!thread.native) return hatch::printable(thread.state);
  switch (thread.state.empty() ? '?' : thread.state.front()) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "uninterruptible";
    case 'T': return "stopped by a signal";
    case 't': return "stopped by a tracer";
    case 'Z': return "zombie";
    case 'I': return "idle";
    default: return "state " + hatch::printable(thread.state);
  }
}

std::string milliseconds(Micros pause) {
  char text[32];
  if (pause < Micros{1000})
    std::snprintf(text, sizeof text, "%lld us", static_cast<long long>(pause.count()));
  else
    std::snprintf(text, sizeof text, "%.1f ms", static_cast<double>(pause.count()) / 1000.0);
  return text;
}

// "waiting in epoll_wait", "BLOCKED, waiting for lock <0x…>", "running, holds the GIL"
std::string doing(const ShownThread& thread) {
  const std::string wait = hatch::printable(thread.waiting_on);
  std::string text = state_word(thread);
  if (!wait.empty()) {
    // A system call is waited in, everything else for.
    const bool call = thread.native && wait.find(' ') == wait.npos;
    text = (thread.native || text.empty() ? "" : text + ", ") + (call ? "waiting in " : "waiting for ") + wait;
  } else if (text.empty() && thread.running) {
    text = "running";
  }
  if (thread.runtime && !thread.runtime->remark.empty())
    text += (text.empty() ? "" : ", ") + hatch::printable(thread.runtime->remark);
  return text;
}

// "\"worker-1\" thread 4711, running", or "57 threads here: …"
std::string heading(const ShownProcess& process, const std::vector<std::size_t>& members) {
  const auto label = [](const ShownThread& thread) {
    std::string text;
    if (!thread.name.empty()) text += '"' + hatch::printable(thread.name) + "\" ";
    if (!thread.id.empty()) return text + hatch::printable(thread.id);
    return text + (thread.tid ? "thread " + std::to_string(thread.tid) : "thread");
  };
  const ShownThread& first = process.threads[members.front()];
  const std::string does = doing(first);
  if (members.size() == 1) {
    const std::string tid = !first.id.empty() && first.tid ? " on thread " + std::to_string(first.tid) : "";
    return label(first) + tid + (does.empty() ? "" : ", " + does);
  }
  const bool alike = std::all_of(members.begin(), members.end(),
                                 [&](std::size_t member) { return doing(process.threads[member]) == does; });
  std::string text =
      std::to_string(weight_of(process, members)) + " threads here" + (alike && !does.empty() ? ", " + does : "") + ":";
  constexpr std::size_t named = 8;
  for (std::size_t i = 0; i < members.size() && i < named; ++i)
    text += (i ? ", " : " ") + label(process.threads[members[i]]);
  if (members.size() > named) text += " and " + std::to_string(members.size() - named) + " more";
  return text;
}

void append_modules(hatch::Array& list, const ShownProcess& process) {
  std::unordered_set<std::string_view> shown;
  for (const Frame& frame : process.frames)
    if (frame.is_native()) shown.insert(frame.module);
  for (const Module& module : process.copy->modules) {
    if (!shown.contains(module.name())) continue;
    hatch::Object o;
    o.add("pid", process.pid).add("module", module.name()).add("path", module.path).add("low", module.low);
    if (module.deleted) o.add("deleted", true);
    if (!module.file && module.image.empty())
      o.add("error", "its file could not be opened: no names, no unwind tables");
    list.add(o);
  }
}

std::string plural(std::size_t count, const char* noun, const char* ending = "s") {
  return std::to_string(count) + ' ' + noun + (count == 1 ? "" : ending);
}

std::string how_held(const Options& options, Micros paused) {
  if (options.pause == Pause::none || paused == Micros{0}) return "nobody was stopped";
  return (options.pause == Pause::all ? "all were held together, at most " : "no thread was held longer than ") +
         milliseconds(paused);
}

// What the processes have in common, or all that they have: "CPython 3.11", "native, CPython 3.11".
std::string together(const std::deque<ShownProcess>& shown, std::string ShownProcess::*member) {
  std::string text;
  std::unordered_set<std::string_view> seen;
  for (const ShownProcess& process : shown)
    if (seen.insert(process.*member).second) text += (text.empty() ? "" : ", ") + process.*member;
  return text;
}

}  // namespace

Answer render_answer(const std::deque<ShownProcess>& shown, const Options& options) {
  Answer answer;
  answer.runtime = together(shown, &ShownProcess::runtime);
  answer.mode = together(shown, &ShownProcess::mode);
  hatch::Array processes, modules;
  std::string threads = "[";
  std::size_t all = 0, unread_processes = 0, cut = 0;  // cut: for want of registers
  std::string notes;
  for (const ShownProcess& process : shown) {
    answer.paused = std::max(answer.paused, process.paused);
    hatch::Object o;
    o.add("pid", process.pid).add("name", process.name).add("runtime", process.runtime).add("mode", process.mode);
    o.add("paused_us", process.paused.count());
    if (process.trouble) {
      o.add("error", process.trouble->detail);
      ++unread_processes;
    } else if (!process.note.empty()) {
      o.add("error", process.note);
      notes += "; " + process.note;
    }
    if (process.stacks)
      for (const auto& [name, json] : process.stacks->members) o.add(name, hatch::Raw{json});
    processes.add(o);
    append_modules(modules, process);

    std::vector<std::string> written;
    for (const Frame& frame : process.frames) written.push_back(frame_json(frame));
    Stacks stacks{written, ','};
    if (!options.group) threads.reserve(threads.size() + stacks.size_of(process));
    for (const std::vector<std::size_t>& group : group_threads(process, options.group)) {
      if (threads.size() > 1) threads += ',';
      append_thread(threads, process, group, options.group, stacks);
    }
    for (const ShownThread& thread : process.threads) {
      all += weight_of(thread);
      answer.read += thread.read ? weight_of(thread) : 0;
      cut += thread.wants_stop;
    }
  }
  answer.threads = std::move(threads += ']');
  answer.processes = processes.json();
  answer.modules = modules.json();
  answer.partial = answer.read < all || unread_processes > 0 || cut > 0 || !notes.empty();
  if (answer.read == all)
    answer.verdict = "The stacks of " + plural(all, "thread") + " were read";
  else
    answer.verdict = "The stacks of " + std::to_string(answer.read) + " of " + plural(all, "thread") +
                     " were read; the others say in \"error\" why not";
  if (shown.size() > 1) answer.verdict += " in " + plural(shown.size(), "process", "es");
  if (cut)
    answer.verdict +=
        ", " + std::to_string(cut) + " of them in part, since the rest takes registers that only a stop would show";
  if (unread_processes) answer.verdict += "; " + plural(unread_processes, "process", "es") + " could not be read";
  answer.verdict += "; " + how_held(options, answer.paused) + notes + ".";
  return answer;
}

std::string render_text(const std::deque<ShownProcess>& shown, const Answer& answer, const Options& options) {
  std::string out = hatch::printable(answer.verdict) + "\n";
  for (const ShownProcess& process : shown) {
    out += "\nprocess " + std::to_string(process.pid) + " " + hatch::printable(process.name) + ", ";
    if (process.runtime != "native") out += hatch::printable(process.runtime) + ", ";
    std::size_t threads = 0;
    for (const ShownThread& thread : process.threads) threads += weight_of(thread);
    out += plural(threads, "thread") + "\n";
    if (process.trouble) out += "  not read: " + hatch::printable(process.trouble->detail) + "\n";
    // Each frame's line is made once; only its number differs.
    std::vector<std::string> lines;
    for (const Frame& frame : process.frames) {
      std::string line = frame.function.empty() && frame.is_native() ? place(frame) : frame.function;
      if (!frame.file.empty())
        line += "  at " + (frame.is_native() ? frame.file.substr(frame.file.rfind('/') + 1) : frame.file) +
                (frame.line > 0 ? ":" + std::to_string(frame.line) : "");
      else if (!frame.function.empty() && frame.is_native())
        line += "  " + place(frame);
      if (frame.inlined) line += "  (inlined)";
      lines.push_back(hatch::printable(line) + "\n");
    }
    std::vector<std::string> numbers;
    const auto number = [&](std::string& text, std::size_t frame) {
      for (char written[32]; numbers.size() <= frame;) {
        std::snprintf(written, sizeof written, "  #%-3zu ", numbers.size());
        numbers.emplace_back(written);
      }
      text += numbers[frame];
    };
    Stacks stacks{lines, 0};
    if (!options.group) out.reserve(out.size() + stacks.size_of(process));
    for (const std::vector<std::size_t>& group : group_threads(process, options.group)) {
      const ShownThread& thread = process.threads[group.front()];
      out += "\n" + heading(process, group) + "\n";
      stacks.append(out, thread.frames, number);
      if (thread.truncated || !thread.error.empty())
        out += "  (" + (thread.error.empty() ? "more frames follow" : hatch::printable(thread.error)) + ")\n";
    }
  }
  return out;
}

std::string render_folded(const std::deque<ShownProcess>& shown) {
  // ';' separates frames and the last blank the count.
  const auto clean = [](std::string_view text) {
    std::string printed = hatch::printable(text);
    std::replace(printed.begin(), printed.end(), ';', ':');
    return printed;
  };
  // "function", and where a runtime's functions are told apart by their file only, "function (file.py:12)".
  const auto label = [](const Frame& frame) {
    if (frame.is_native()) return frame.function.empty() ? place(frame) : frame.function;
    if (frame.file.empty()) return frame.function;
    return frame.function + " (" + frame.file.substr(frame.file.rfind('/') + 1) + ":" + std::to_string(frame.line) +
           ")";
  };
  std::map<std::string, std::size_t> counts;
  for (const ShownProcess& process : shown) {
    std::vector<std::string> names;
    for (const Frame& frame : process.frames) names.push_back(clean(label(frame)));
    for (const ShownThread& thread : process.threads) {
      if (thread.frames.empty()) continue;
      std::string line = clean(process.name) + ";" + clean(thread.name);
      for (auto f = thread.frames.rbegin(); f != thread.frames.rend(); ++f) line += ";" + names[*f];
      counts[line] += weight_of(thread);
    }
  }
  std::string out;
  for (const auto& [line, count] : counts) out += line + " " + std::to_string(count) + "\n";
  return out;
}

}  // namespace stack
