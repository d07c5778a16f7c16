#include "stack/signal.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#include <thread>

#include "stack/jvm/thread_dump.hpp"
#include "stack/merge.hpp"
#include "stack/modules.hpp"
#include "stack/printed.hpp"
#include "stack/procfs.hpp"
#include "stack/refusal.hpp"
#include "stack/render.hpp"
#include "stack/runtimes.hpp"

namespace stack {
namespace {

using namespace std::chrono_literals;

constexpr auto first_patience = 5s;  // for the first byte
constexpr auto silence = 300ms;      // after which it has said all: nobody marks the end
constexpr std::size_t output_limit = std::size_t{4} << 20;
constexpr std::size_t maps_limit = std::size_t{32} << 20;

enum class Kind { jvm, celery, celery_child, python, go, node, other };

struct Chosen {
  int number = 0;
  const char* name = "";
};

struct Addressee {
  std::uint32_t index = 0;  // among the run's processes
  Process process;
  std::string status, command;
  Kind kind = Kind::other;
};

std::string command_of(int proc_fd) { return read_below(proc_fd, "cmdline", 64 * 1024).value_or(""); }

bool is_celery(std::string_view command) {
  // "python3 -m celery -A shop worker", "/usr/bin/celery worker", "[celeryd: w1@host:MainProcess]"
  return command.find("celery") != command.npos &&
         (command.find("worker") != command.npos || command.find("celeryd") != command.npos);
}

bool is_celery_child(std::string_view status, std::string_view command) {
  if (command.find("ForkPoolWorker") != command.npos) return true;
  // A child of a worker is called as its parent, unless setproctitle is installed.
  const std::string parent = "/proc/" + std::string(status_value(status, "PPid")) + "/cmdline";
  return read_below(AT_FDCWD, parent, 64 * 1024).value_or("") == command;
}

Kind kind_of(const Process& process, std::string_view status, std::string_view command) {
  const auto maps = read_below(process.proc_fd, "maps", maps_limit);
  if (!maps) {
    const Trouble trouble = explain_refusal(process, process.pid, Refused::tracing);
    throw hatch::Failure::rights(trouble.detail, trouble.missing, trouble.remedy);
  }
  const std::vector<Mapping> mappings = parse_maps(*maps);
  std::vector<Module> modules = group_modules(mappings);
  bool python = false, node = false;
  for (const Module& module : modules) {
    const std::string_view name = module.name();
    if (name == "libjvm.so") return Kind::jvm;
    python |= name.starts_with("python") || name.starts_with("libpython");
    node |= name == "node" || name == "nodejs" || name.starts_with("libnode.so");
  }
  if (node) return Kind::node;
  if (python && is_celery(command)) return is_celery_child(status, command) ? Kind::celery_child : Kind::celery;
  if (python) return Kind::python;
  open_modules(process, mappings, modules);
  const auto reader = detect_runtime({process, process.pid, mappings, modules}, "auto");
  return reader && reader->mode() == "go" ? Kind::go : Kind::other;
}

[[noreturn]] void refuse(const std::string& why, const std::string& remedy) {
  hatch::Failure failure{why};
  failure.remedy = remedy;
  throw failure;
}

Addressee subject_of(const hatch::Run& run) {
  Addressee subject;
  bool any = false;
  const std::vector<hatch_process> processes = run.processes();
  for (std::uint32_t i = 0; i < processes.size(); ++i) {
    const hatch_process& process = processes[i];
    if (any && !process.main) continue;
    subject.index = i;
    subject.process = {process.pid, process.pidfd, process.proc_fd};
    any = true;
    if (process.main) break;
  }
  if (!any || has_ended(subject.process.pidfd, subject.process.proc_fd)) throw hatch::Failure("the target has ended");
  subject.status = read_below(subject.process.proc_fd, "status", 16 * 1024).value_or("");
  subject.command = command_of(subject.process.proc_fd);
  subject.kind = kind_of(subject.process, subject.status, subject.command);
  return subject;
}

bool catches(const Addressee& subject, int number) { return has_signal(subject.status, "SigCgt", number); }

Chosen choose(const Addressee& subject, const std::string& wanted) {
  constexpr Chosen quit{SIGQUIT, "SIGQUIT"}, usr1{SIGUSR1, "SIGUSR1"}, usr2{SIGUSR2, "SIGUSR2"};
  Chosen chosen = wanted == "QUIT" ? quit : wanted == "USR2" ? usr2 : usr1;
  switch (subject.kind) {
    case Kind::go:
      refuse("a Go program ends at SIGQUIT, after printing", "stack.dump reads its goroutines and sends nothing");
    case Kind::node:
      refuse("Node.js opens its debugger at SIGUSR1 and prints nothing", "stack.dump with act=true uses that debugger");
    case Kind::celery_child:
      refuse("this is a child of a Celery worker, where SIGUSR1 aborts the task that it works on",
             "name the worker's main process: processes=main of its unit, or its pid");
    case Kind::jvm:
      if (wanted != "auto" && wanted != "QUIT")
        refuse("a JVM prints its threads at SIGQUIT alone", "signal=QUIT or auto");
      chosen = quit;
      break;
    case Kind::celery:
      if (wanted != "auto" && wanted != "USR1")
        refuse("a Celery worker prints its threads at SIGUSR1; SIGQUIT ends it, SIGUSR2 waits for a debugger",
               "signal=USR1 or auto");
      chosen = usr1;
      break;
    case Kind::python:
      if (wanted == "QUIT") refuse("SIGQUIT ends Python's servers (gunicorn, Celery) or kills", "signal=USR1 or USR2");
      // gunicorn(1): USR1 reopens its logs, USR2 starts a second gunicorn. Its workers may have given USR1 away.
      if (wanted != "USR1" &&
          (subject.command.find("gunicorn") != std::string::npos || subject.command.find("uwsgi") != std::string::npos))
        refuse(
            "gunicorn and uWSGI give SIGUSR1 and SIGUSR2 meanings of their own",
            "signal=USR1 where the app's own code has given it to faulthandler.register(); stack.dump needs no signal");
      if (wanted == "auto") {
        const bool one = catches(subject, SIGUSR1), two = catches(subject, SIGUSR2);
        if (one && two)
          refuse("the program catches SIGUSR1 and SIGUSR2, and one of them may mean something else",
                 "name the one that it gave to faulthandler.register(): signal=USR1 or USR2");
        chosen = two ? usr2 : usr1;
      }
      break;
    case Kind::other:
      refuse("what signals do to this program is not known: it is no JVM, no Celery worker and no Python program",
             "stack.dump needs no signal; a recipe of kind signal sends one of your choice");
  }
  if (!catches(subject, chosen.number))
    refuse(std::string(chosen.name) + (has_signal(subject.status, "SigIgn", chosen.number)
                                           ? " is ignored by this process, so it would print nothing"
                                           : " would kill this process, which does not catch it"),
           subject.kind == Kind::jvm
               ? "start the JVM without -Xrs"
               : "faulthandler.register(signal.SIGUSR1, all_threads=True) in the program makes it print; "
                 "stack.dump needs no signal");
  return chosen;
}

// Follows what the target prints to; refuses when that cannot be read by anybody else.
Printed follow(const hatch::Run& run, const Addressee& subject) {
  Printed printed;
  std::string why;
  for (const int number : {1, 2}) {
    const std::string reason = printed.follow(subject.process, number);
    if (!reason.empty())
      why += (why.empty() ? "" : "; ") +
             std::string(number == 1 ? "its standard output is " : "its standard error is ") + reason;
  }
  // HotSpot prints to the former, Celery and faulthandler to the latter, but for those that were given a log.
  printed.follow(UniqueFd{run.target_file(subject.index, HATCH_FILE_LOG)});
  if (!printed.any())
    refuse(
        "what it prints could not be read: " + why,
        "let it print to a file: StandardOutput=append:FILE and StandardError=append:FILE in a systemd unit, a "
        "redirection in a script; or name the log that it writes: targets.NAME.log.file. Under systemd the journal has "
        "it: journalctl -u UNIT");
  return printed;
}

// A reader whose stacks were printed.
class Said final : public RuntimeReader {
 public:
  explicit Said(std::string mode) : mode_(std::move(mode)) {}
  std::string_view mode() const override { return mode_; }
  std::string runtime() const override { return mode_; }
  bool gather(const Options& /*options*/, Hold& /*hold*/) override { return true; }
  bool has_stacks() const override { return true; }
  RuntimeStacks digest(const Options& /*options*/, Hold& /*hold*/) override { return {}; }

 private:
  std::string mode_;
};

// threads[] as stack.dump has them; empty when the text is of no known format.
std::string threads_json(const Addressee& subject, const KernelThreads& kernel, std::string_view text) {
  const Options options;
  auto stacks = std::make_shared<RuntimeStacks>();
  if (subject.kind == Kind::jvm) {
    // A date stands before the line that begins a dump, behind whatever else was printed.
    const std::size_t begin = text.find("\nFull thread dump ");
    if (begin == text.npos) return {};
    const std::size_t date = begin == 0 ? 0 : text.rfind('\n', begin - 1) + 1;
    jvm::parse_thread_dump(text.substr(date), kernel, options.max_frames, *stacks);
  } else if (!parse_faulthandler(text, options.max_frames, *stacks)) {
    return {};
  }
  Gathered gathered;
  ProcessCopy& copy = gathered.processes.emplace_back();
  copy.pid = subject.process.pid;
  copy.reader = std::make_shared<Said>(subject.kind == Kind::jvm ? "jvm" : "python");
  Digest digest;
  digest.processes.emplace_back().runtime = stacks;
  return render_answer(merge(gathered, digest), options).threads;
}

}  // namespace

hatch::Result Signal::preflight(hatch::Run& run) {
  const Addressee subject = subject_of(run);
  const Chosen chosen = choose(subject, signal);
  const Printed printed = follow(run, subject);
  return hatch::Result{std::string(chosen.name) + " would make process " + std::to_string(subject.process.pid) +
                       " print."};
}

hatch::Result Signal::run(hatch::Run& run) {
  const auto begin = Clock::now();
  Addressee subject = subject_of(run);
  const KernelThreads kernel = threads_by_own_number(subject.process.proc_fd);
  choose(subject, signal);
  const Printed printed = follow(run, subject);
  // Asked for again right before: what the process catches may have changed by an exec.
  subject.status = read_below(subject.process.proc_fd, "status", 16 * 1024).value_or("");
  const Chosen chosen = choose(subject, signal);
  hatch::Result result;
  result.step("look", ms_since(begin), true, chosen.name);
  const auto sending = Clock::now();
  if (::syscall(SYS_pidfd_send_signal, subject.process.pidfd, chosen.number, nullptr, 0) != 0) {
    if (errno == EPERM)
      throw hatch::Failure::rights(
          std::string(chosen.name) + " may not be sent to process " + std::to_string(subject.process.pid), {"CAP_KILL"},
          "run hatchd as the target's user, or with CAP_KILL");
    throw hatch::Failure("the target has ended");
  }
  std::uint64_t size = 0;
  auto changed = Clock::now();
  for (;;) {
    run.check();
    std::this_thread::sleep_for(20ms);
    const std::uint64_t now = printed.size();
    if (now != size) {
      size = now;
      changed = Clock::now();
      if (size > output_limit) break;
    } else if (Clock::now() - changed > (size > 0 ? silence : std::chrono::milliseconds{first_patience})) {
      break;
    }
  }
  const std::string source = printed.source();
  std::string text = printed.text(output_limit);
  const bool ended = has_ended(subject.process.pidfd, subject.process.proc_fd);
  result.step("print", ms_since(sending), !text.empty(), source);

  run.drop_rights();
  text = without_locals(text);
  const std::string threads = threads_json(subject, kernel, text);
  result.add("signal", chosen.name).add("source", source).add("output", text);
  if (!threads.empty()) result.add("threads", hatch::Raw{threads});
  const std::string pid = std::to_string(subject.process.pid);
  if (ended)
    throw hatch::Failure("process " + pid + " has ended since it was sent " + chosen.name).with(std::move(result));
  if (text.empty())
    throw hatch::Failure(std::string(chosen.name) + " was sent to process " + pid +
                         ", and nothing appeared in 5 s: its main thread hangs in native code, or it prints elsewhere")
        .with(std::move(result));
  result.verdict(std::string(chosen.name) + " made process " + pid + " print " + std::to_string(text.size()) +
                 " bytes to " + source + (threads.empty() ? "; the format is not known." : "."));
  result.text(hatch::printable(source) + ":\n" + [&] {
    std::string clean;
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      clean += hatch::printable(rest.substr(0, end)) + "\n";
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return clean;
  }());
  if (size > output_limit) result.partial();
  return result;
}

}  // namespace stack
