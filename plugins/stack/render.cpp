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
  o.add("offset", frame.offset).add("kind", frame.kind);
  if (frame.inlined) o.add("inlined", true);
  return o.json();
}

// Equal frames are written once and joined: a thousand threads of one pool differ in nothing else.
std::string frames_json(const ThreadStack& thread, const std::vector<std::string>& written) {
  std::string out = "[";
  for (const std::uint32_t index : thread.frames) {
    if (out.size() > 1) out += ',';
    out += written[index];
  }
  return out += ']';
}

std::string thread_json(const ProcessCopy& process, const ThreadCopy& copy, const ThreadStack& stack,
                        const std::vector<std::string>& written) {
  hatch::Object o;
  o.add("pid", process.pid).add("id", copy.tid).add("name", copy.name).add("state", std::string(1, copy.state));
  o.add("running", copy.running);
  if (!copy.waiting_on.empty()) o.add("waiting_on", copy.waiting_on);
  o.add("truncated", stack.truncated);
  if (!stack.error.empty()) o.add("error", stack.error);
  const std::string frames = frames_json(stack, written);
  return o.add("frames", hatch::Raw{frames}).json();
}

std::string state_word(char state) {
  switch (state) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "uninterruptible";
    case 'T': return "stopped by a signal";
    case 't': return "stopped by a tracer";
    case 'Z': return "zombie";
    case 'I': return "idle";
    default: return std::string("state ") + hatch::printable(std::string(1, state));
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

void append_modules(hatch::Array& list, const ProcessCopy& process, const ProcessStacks& stacks) {
  std::unordered_set<std::string_view> shown;
  for (const Frame& frame : stacks.frames) shown.insert(frame.module);
  for (const Module& module : process.modules) {
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
  if (options.pause == Pause::none) return "nobody was stopped";
  return (options.pause == Pause::all ? "all were held together, at most " : "no thread was held longer than ") +
         milliseconds(paused);
}

}  // namespace

Answer render_answer(const Gathered& gathered, const Digest& digest, const Options& options) {
  Answer answer;
  answer.runtime = answer.mode = "native";
  hatch::Array processes, modules;
  std::string threads = "[";
  std::size_t all = 0, unread_processes = 0, cut = 0;  // cut: for want of registers
  std::string notes;
  for (std::size_t p = 0; p < gathered.processes.size(); ++p) {
    const ProcessCopy& process = gathered.processes[p];
    const ProcessStacks& stacks = digest.processes[p];
    answer.paused = std::max(answer.paused, process.paused);
    hatch::Object o;
    o.add("pid", process.pid).add("name", process.name).add("runtime", "native").add("mode", "native");
    o.add("paused_us", process.paused.count());
    if (process.trouble) {
      o.add("error", process.trouble->detail);
      ++unread_processes;
    } else if (!process.note.empty()) {
      o.add("error", process.note);
      notes += "; " + process.note;
    }
    processes.add(o);
    append_modules(modules, process, stacks);

    std::vector<std::string> written;
    for (const Frame& frame : stacks.frames) written.push_back(frame_json(frame));
    for (std::size_t i = 0; i < process.threads.size() && i < stacks.threads.size(); ++i) {
      if (threads.size() > 1) threads += ',';
      threads += thread_json(process, process.threads[i], stacks.threads[i], written);
      ++all;
      const auto& registers = process.threads[i].registers;
      answer.read += registers.has_value();
      cut += registers && !registers->complete && stacks.threads[i].truncated;
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
  if (gathered.processes.size() > 1) answer.verdict += " in " + plural(gathered.processes.size(), "process", "es");
  if (cut)
    answer.verdict +=
        ", " + std::to_string(cut) + " of them in part, since the rest takes registers that only a stop would show";
  if (unread_processes) answer.verdict += "; " + plural(unread_processes, "process", "es") + " could not be read";
  answer.verdict += "; " + how_held(options, answer.paused) + notes + ".";
  return answer;
}

std::string render_text(const Gathered& gathered, const Digest& digest, const Answer& answer) {
  std::string out = hatch::printable(answer.verdict) + "\n";
  for (std::size_t p = 0; p < gathered.processes.size(); ++p) {
    const ProcessCopy& process = gathered.processes[p];
    const ProcessStacks& stacks = digest.processes[p];
    out += "\nprocess " + std::to_string(process.pid) + " " + hatch::printable(process.name) + ", " +
           plural(process.threads.size(), "thread") + "\n";
    if (process.trouble) out += "  not read: " + hatch::printable(process.trouble->detail) + "\n";
    // Each frame's line is made once; only its number differs.
    std::vector<std::string> lines;
    for (const Frame& frame : stacks.frames) {
      std::string line = frame.function.empty() ? place(frame) : frame.function;
      if (!frame.file.empty())
        line += "  at " + frame.file.substr(frame.file.rfind('/') + 1) + ":" + std::to_string(frame.line);
      else if (!frame.function.empty())
        line += "  " + place(frame);
      if (frame.inlined) line += "  (inlined)";
      lines.push_back(hatch::printable(line) + "\n");
    }
    for (std::size_t i = 0; i < process.threads.size() && i < stacks.threads.size(); ++i) {
      const ThreadCopy& copy = process.threads[i];
      const ThreadStack& stack = stacks.threads[i];
      out += "\n\"" + hatch::printable(copy.name) + "\" thread " + std::to_string(copy.tid) + ", ";
      out += copy.waiting_on.empty() ? state_word(copy.state) : "waiting in " + hatch::printable(copy.waiting_on);
      out += '\n';
      char number[32];
      for (std::size_t f = 0; f < stack.frames.size(); ++f) {
        std::snprintf(number, sizeof number, "  #%-3zu ", f);
        out += number;
        out += lines[stack.frames[f]];
      }
      if (stack.truncated || !stack.error.empty())
        out += "  (" + (stack.error.empty() ? "more frames follow" : hatch::printable(stack.error)) + ")\n";
    }
  }
  return out;
}

std::string render_folded(const Gathered& gathered, const Digest& digest) {
  // ';' separates frames and the last blank the count.
  const auto clean = [](std::string_view text) {
    std::string shown = hatch::printable(text);
    std::replace(shown.begin(), shown.end(), ';', ':');
    return shown;
  };
  std::map<std::string, std::size_t> counts;
  for (std::size_t p = 0; p < gathered.processes.size(); ++p) {
    const ProcessCopy& process = gathered.processes[p];
    const ProcessStacks& stacks = digest.processes[p];
    std::vector<std::string> names;
    for (const Frame& frame : stacks.frames)
      names.push_back(clean(frame.function.empty() ? place(frame) : frame.function));
    for (std::size_t i = 0; i < stacks.threads.size(); ++i) {
      if (stacks.threads[i].frames.empty()) continue;
      std::string line = clean(process.name) + ";" + clean(process.threads[i].name);
      for (auto f = stacks.threads[i].frames.rbegin(); f != stacks.threads[i].frames.rend(); ++f)
        line += ";" + names[*f];
      ++counts[line];
    }
  }
  std::string out;
  for (const auto& [line, count] : counts) out += line + " " + std::to_string(count) + "\n";
  return out;
}

}  // namespace stack
