#include "stack/jvm/thread_dump.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <unordered_set>

#include "hatch/json.hpp"

namespace stack::jvm {
namespace {

constexpr std::size_t max_threads = 200'000;
constexpr std::size_t max_frames = 500'000;  // distinct ones
constexpr std::size_t max_name = 1024;

struct Lock {
  std::uint64_t address = 0;
  std::string_view type;
};

// What a line says of a lock: its words, and the lock behind them.
struct LockLine {
  std::string_view verb;
  std::optional<Lock> lock;
};

// What a thread has to do with locks.
struct Block {
  std::vector<Lock> held;  // monitors of its frames, then java.util.concurrent locks
  std::optional<Lock> wanted;
  std::string_view wants_by;  // "waiting to lock", …
};

struct Header {
  std::string_view before;   // all before the closing quote of the name
  std::uint64_t object = 0;  // tid=, the VM's own thread object
  pid_t nid = 0;             // of the kernel
  bool java = false;         // has a number of its own: "#12"
  bool daemon = false;
  std::string_view priority, cpu;
  std::string_view doing;  // "waiting on condition"
};

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::string_view take_until(std::string_view& text, std::string_view end) {
  const std::size_t at = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(std::min(at + end.size(), text.size()));
  return taken;
}

// "0x1f" or, as some versions write nid, "31".
std::optional<std::uint64_t> number_of(std::string_view text) {
  const int base = take_prefix(text, "0x") ? 16 : 10;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 20 && text.find_first_not_of("0123456789") == text.npos;
}

std::string hex(std::uint64_t value) {
  char text[24];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value, 16);
  const std::string digits(text, end);
  return "<0x" + std::string(16 - std::min<std::size_t>(digits.size(), 16), '0') + digits + ">";
}

std::string shown(const Lock& lock) {
  return (lock.address ? hex(lock.address) : std::string{"a lock without an address"}) +
         (lock.type.empty() ? std::string{} : " (" + std::string(lock.type) + ")");
}

// The end of a header is read from the right, where no name can be:
//   … " #12 [4711] daemon prio=5 os_prio=0 cpu=0.1ms elapsed=1.2s tid=0x00007f nid=0x12 waiting on condition  [0x0]
//   … " os_prio=0 tid=0x00007f nid=0x12 runnable
std::optional<Header> parse_header(std::string_view line) {
  // Forwards first: few lines have it, and looking backwards compares at every place.
  if (line.find(" tid=0x") == line.npos) return std::nullopt;
  const std::size_t tid = line.rfind(" tid=0x");
  const std::size_t quote = line.rfind("\" ", tid);
  if (quote == line.npos) return std::nullopt;
  Header header;
  header.before = line.substr(0, quote);

  std::string_view end = line.substr(tid + 5);
  const auto object = number_of(take_until(end, " "));
  if (!object || !take_prefix(end, "nid=")) return std::nullopt;
  const auto nid = number_of(take_until(end, " "));
  if (!nid) return std::nullopt;
  header.object = *object;
  header.nid = static_cast<pid_t>(*nid);
  header.doing = end.substr(0, std::min(end.find(" ["), end.size()));
  while (header.doing.ends_with(' ')) header.doing.remove_suffix(1);

  for (std::string_view middle = line.substr(quote + 2, tid - quote - 2); !middle.empty();) {
    std::string_view word = take_until(middle, " ");
    if (word == "daemon")
      header.daemon = true;
    else if (take_prefix(word, "#") && is_number(word))
      header.java = true;
    else if (take_prefix(word, "prio=") && is_number(word))
      header.priority = word;
    else if (take_prefix(word, "cpu=") && word.ends_with("ms"))
      header.cpu = word.substr(0, word.size() - 2);
  }
  return header;
}

//   - waiting to lock <0x000000069ec1ab78> (a java.lang.Object)
//   - waiting on <no object reference available>
std::optional<LockLine> parse_lock(std::string_view line) {
  if (!take_prefix(line, "\t- ") && !take_prefix(line, "   - ")) return std::nullopt;
  LockLine result;
  const std::size_t open = line.find('<');
  result.verb = line.substr(0, open);
  while (result.verb.ends_with(' ')) result.verb.remove_suffix(1);
  if (open == line.npos) return result;
  line.remove_prefix(open + 1);
  const auto address = number_of(take_until(line, ">"));
  if (!address) return result;
  result.lock = Lock{*address, {}};
  if (take_prefix(line, " (a ") && line.ends_with(')')) result.lock->type = line.substr(0, line.size() - 1);
  return result;
}

// "java.lang.Thread.sleep(java.base@17.0.15/Native Method)", "Shop.main(Shop.java:55)"
Frame parse_frame(std::string_view text) {
  Frame frame;
  frame.kind = "jvm";
  const std::size_t open = text.rfind('(');
  frame.function = text.substr(0, open);
  if (open == text.npos || !text.ends_with(')')) return frame;
  std::string_view place = text.substr(open + 1, text.size() - open - 2);
  if (const std::size_t slash = place.rfind('/'); slash != place.npos) {
    frame.module = place.substr(0, slash);
    place.remove_prefix(slash + 1);
  }
  if (place == "Native Method" || place == "Unknown Source") return frame;
  if (const std::size_t colon = place.rfind(':'); colon != place.npos && is_number(place.substr(colon + 1))) {
    const std::string_view line = place.substr(colon + 1);
    std::from_chars(line.data(), line.data() + line.size(), frame.line);
    place = place.substr(0, colon);
  }
  frame.file = place;
  return frame;
}

class Reader {
 public:
  Reader(const KernelThreads& kernel, unsigned max_frames, RuntimeStacks& stacks)
      : kernel_(kernel), max_frames_(max_frames), stacks_(stacks) {}

  void read(std::string_view text) {
    read_preamble(text);
    while (!text.empty()) read_line(take_until(text, "\n"));
    name_waits();
    add_deadlocks();
  }

  std::unordered_set<pid_t> waiting(std::string_view text) {
    std::unordered_set<pid_t> all;
    read_preamble(text);
    while (known_objects_ && !text.empty()) {
      const auto header = parse_header(take_until(text, "\n"));
      if (!header || !header->java || objects_.erase(header->object) == 0) continue;
      std::string_view next = text.substr(0, text.find("\n\n"));
      // What carries a virtual thread waits for it by its own state, and may run.
      if (next.find(" virtual thread #") != next.npos) continue;
      if (!take_prefix(next, "   java.lang.Thread.State: ")) continue;
      for (const char* state : {"WAITING", "TIMED_WAITING", "BLOCKED"})
        if (next.starts_with(state)) all.insert(header->nid);
    }
    return all;
  }

 private:
  enum class Part { between, thread, locks, deadlocks };

  // "Full thread dump OpenJDK 64-Bit Server VM (17.0.15+6 mixed mode):" and, since JDK 10, the thread objects.
  void read_preamble(std::string_view& text) {
    take_until(text, "\n");  // date
    std::string_view vm = take_until(text, "\n");
    take_prefix(vm, "Full thread dump ");
    const std::string_view name = take_until(vm, " (");
    const std::string_view version = vm.substr(0, vm.find(' '));
    stacks_.runtime =
        std::string(name.substr(0, 80)) + (version.empty() ? "" : " " + std::string(version.substr(0, 80)));
    std::string_view rest = text;
    take_until(rest, "\n");
    if (!take_prefix(rest, "Threads class SMR info:\n")) return;
    std::string_view list = take_until(rest, "\n}\n");
    take_until(list, "elements={");
    for (std::size_t count = 0; !list.empty() && count < max_threads; ++count) {
      std::string_view word = take_until(list, ",");
      while (!word.empty() && (word.front() == '\n' || word.front() == ' ')) word.remove_prefix(1);
      if (const auto object = number_of(word)) objects_.insert(*object);
    }
    if (!objects_.empty()) text = rest;
    known_objects_ = !objects_.empty();
  }

  void read_line(std::string_view line) {
    if (const auto header = parse_header(line); header && is_thread(*header)) return begin_block(*header);
    switch (part_) {
      case Part::thread: return read_thread(line);
      case Part::locks: return read_locks(line);
      case Part::deadlocks: return read_deadlock(line);
      case Part::between: break;
    }
    if (line == "   Locked ownable synchronizers:" && !stacks_.threads.empty() && name_begin_ == nullptr) {
      part_ = Part::locks;
    } else if (line.starts_with("Found ") && line.find("deadlock") != line.npos &&
               (known_objects_ ? objects_.empty() : name_begin_ == nullptr)) {
      part_ = Part::deadlocks;
    } else if (name_begin_ == nullptr && line.starts_with('"')) {
      name_begin_ = line.data();  // of a thread whose name goes on on the next line
    }
  }

  bool is_thread(const Header& header) {
    if (header.java && known_objects_) return objects_.contains(header.object);
    // JDK 8 tells no objects: then a thread of the kernel counts, once.
    if (header.java) return kernel_.contains(header.nid) && !seen_.contains(header.nid);
    // Threads of the VM itself, whose names it chose, follow when all others are done.
    return objects_.empty() && header.before.starts_with('"') && name_begin_ == nullptr && part_ != Part::deadlocks;
  }

  void begin_block(const Header& header) {
    part_ = Part::thread;
    objects_.erase(header.object);
    if (stacks_.threads.size() >= max_threads) return;
    RuntimeThread& thread = stacks_.threads.emplace_back();
    blocks_.emplace_back();
    std::string_view name = header.before;
    if (name_begin_ && header.java)
      name = {name_begin_, static_cast<std::size_t>(name.data() + name.size() - name_begin_)};
    name_begin_ = nullptr;
    take_prefix(name, "\"");
    thread.name = name.substr(0, max_name);
    const auto found = kernel_.find(header.nid);
    if (found != kernel_.end() && seen_.insert(header.nid).second) {
      thread.tid = found->second.tid;
      thread.running = found->second.running;
    } else {
      thread.id = "nid " + std::to_string(header.nid);  // it has ended since
    }
    thread.state = header.doing;
    if (header.java) thread.members.emplace_back("daemon", header.daemon ? "true" : "false");
    if (const auto priority = number_of(header.priority))
      thread.members.emplace_back("priority", std::to_string(*priority));
    double cpu = 0;
    const auto [end, error] = std::from_chars(header.cpu.data(), header.cpu.data() + header.cpu.size(), cpu);
    if (error == std::errc{} && end == header.cpu.data() + header.cpu.size() && cpu >= 0 && cpu < 1e15) {
      char text[32];
      std::snprintf(text, sizeof text, "%.2f", cpu);
      thread.members.emplace_back("cpu_ms", text);
    }
  }

  void read_thread(std::string_view line) {
    RuntimeThread& thread = stacks_.threads.back();
    if (line.empty()) {
      part_ = Part::between;
    } else if (take_prefix(line, "   java.lang.Thread.State: ")) {
      thread.state = line.substr(0, 64);
    } else if (take_prefix(line, "\tat ")) {
      add_frame(thread, line);
    } else if (line == "\t...") {
      thread.truncated = true;  // MaxJavaStackTraceDepth
    } else if (std::string_view number = line;
               take_prefix(number, "   Carrying virtual thread #") && is_number(number)) {
      thread.members.emplace_back("carries", "\"virtual thread #" + std::string(number) + "\"");
    } else if (number = line; take_prefix(number, "   Mounted virtual thread #") && is_number(number)) {
      begin_virtual_thread(number);
    } else if (const auto lock = parse_lock(line)) {
      add_lock(blocks_.back(), *lock);
    }
  }

  // JDK 24 and later: the frames of a virtual thread behind those of its carrier.
  void begin_virtual_thread(std::string_view number) {
    if (stacks_.threads.size() >= max_threads) return;
    RuntimeThread thread;
    thread.id = "virtual thread #" + std::string(number);
    thread.running = stacks_.threads.back().running;
    stacks_.threads.push_back(std::move(thread));
    blocks_.emplace_back();
  }

  void add_frame(RuntimeThread& thread, std::string_view text) {
    if (thread.frames.size() >= max_frames_) {
      thread.truncated = true;
      return;
    }
    if (stacks_.frames.size() >= max_frames && !known_frames_.contains(text)) {
      thread.truncated = true;
      return;
    }
    const auto [found, fresh] = known_frames_.try_emplace(text, static_cast<std::uint32_t>(stacks_.frames.size()));
    if (fresh) stacks_.frames.push_back(parse_frame(text));
    thread.frames.push_back(found->second);
  }

  static void add_lock(Block& block, const LockLine& line) {
    if (line.verb == "locked" || line.verb == "eliminated") {
      if (line.lock) block.held.push_back(*line.lock);
    } else if (line.verb.starts_with("waiting") || line.verb.starts_with("parking")) {
      if (block.wants_by.empty()) {
        block.wants_by = line.verb;
        block.wanted = line.lock;
      }
    }
  }

  void read_locks(std::string_view line) {
    if (line.empty()) {
      part_ = Part::between;
      return;
    }
    const auto lock = parse_lock(line.starts_with("\t- ") ? line : std::string_view{});
    if (lock && lock->lock && !blocks_.empty()) blocks_.back().held.push_back(*lock->lock);
  }

  // "  waiting for ownable synchronizer 0x000000069ec1ad10, (a java.util.concurrent.locks.ReentrantLock$NonfairSync),"
  // "  which is held by "ledger-holder""
  // This is where a lock that is no monitor has an owner although the heap was not walked for them. A name counts when
  // one thread alone has it.
  void read_deadlock(std::string_view line) {
    if (take_prefix(line, "  waiting for ownable synchronizer ")) {
      synchronizer_ = number_of(take_until(line, ",")).value_or(0);
    } else if (take_prefix(line, "  which is held by \"") && line.ends_with('"')) {
      line.remove_suffix(1);
      if (synchronizer_ != 0) named_owners_.emplace_back(synchronizer_, line);
      synchronizer_ = 0;
    }
  }

  void name_waits() {
    std::unordered_map<std::string_view, std::size_t> by_name;
    constexpr std::size_t several = ~std::size_t{0};
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      const auto [entry, fresh] = by_name.try_emplace(stacks_.threads[i].name, i);
      if (!fresh) entry->second = several;
      for (const Lock& lock : block.held)
        // Who waits to be notified shows its monitor as locked, which it gave back.
        if (!block.wanted || block.wanted->address != lock.address) owners_.try_emplace(lock.address, i);
    }
    for (const auto& [address, name] : named_owners_)
      if (const auto found = by_name.find(name); found != by_name.end() && found->second != several)
        owners_.try_emplace(address, found->second);

    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      RuntimeThread& thread = stacks_.threads[i];
      const Block& block = blocks_[i];
      if (!block.wants_by.empty()) {
        thread.waiting_on = (block.wants_by == "waiting on" ? "notification of " : "lock ") +
                            (block.wanted ? shown(*block.wanted) : std::string{"an object that the VM does not name"});
        if (const auto owner = owner_of(block))
          thread.waiting_on += " held by \"" + stacks_.threads[*owner].name + "\"";
      }
      hatch::Array held;
      std::unordered_set<std::uint64_t> listed;
      for (const Lock& lock : block.held) {
        const auto owner = owners_.find(lock.address);
        if (owner != owners_.end() && owner->second == i && listed.insert(lock.address).second) held.add(shown(lock));
      }
      if (!held.empty()) thread.members.emplace_back("locks", held.json());
    }
  }

  std::optional<std::size_t> owner_of(const Block& block) const {
    if (!block.wanted || block.wants_by == "waiting on") return std::nullopt;
    const auto found = owners_.find(block.wanted->address);
    return found == owners_.end() || &blocks_[found->second] == &block ? std::nullopt : std::optional{found->second};
  }

  // Rings of threads each of which waits for the next: looked for here rather than read, since the VM's own text names
  // threads by nothing but their names.
  void add_deadlocks() {
    hatch::Array rings;
    std::vector<std::size_t> visited_from(blocks_.size(), ~std::size_t{0});
    for (std::size_t start = 0; start < blocks_.size(); ++start) {
      std::optional<std::size_t> at = start;
      while (at && visited_from[*at] == ~std::size_t{0}) {
        visited_from[*at] = start;
        at = owner_of(blocks_[*at]);
      }
      if (!at || visited_from[*at] != start) continue;
      hatch::Array ring;
      const std::size_t first = *at;
      do {
        const RuntimeThread& thread = stacks_.threads[*at];
        hatch::Object entry;
        entry.add("id", thread.tid).add("name", thread.name).add("waiting_on", thread.waiting_on);
        ring.add(entry);
        at = owner_of(blocks_[*at]);
      } while (at && *at != first);
      rings.add(ring);
    }
    stacks_.members.emplace_back("deadlocks", rings.json());
  }

  const KernelThreads& kernel_;
  const unsigned max_frames_;
  RuntimeStacks& stacks_;
  std::vector<Block> blocks_;  // as stacks_.threads
  Part part_ = Part::between;
  const char* name_begin_ = nullptr;
  bool known_objects_ = false;
  std::unordered_set<std::uint64_t> objects_;  // of threads that are still to come
  std::unordered_set<pid_t> seen_;             // nid
  std::unordered_map<std::string_view, std::uint32_t> known_frames_;
  std::unordered_map<std::uint64_t, std::size_t> owners_;  // lock to index of its thread
  std::uint64_t synchronizer_ = 0;
  std::vector<std::pair<std::uint64_t, std::string_view>> named_owners_;
};

}  // namespace

void parse_thread_dump(std::string_view text, const KernelThreads& kernel, unsigned max_frames, RuntimeStacks& stacks) {
  Reader{kernel, max_frames, stacks}.read(text);
}

std::unordered_set<pid_t> waiting_threads(std::string_view text) {
  const KernelThreads none;
  RuntimeStacks stacks;
  return Reader{none, 0, stacks}.waiting(text);
}

}  // namespace stack::jvm
