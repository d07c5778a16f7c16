#include "stack/jvm/jvm.hpp"

#include <charconv>

#include "stack/jvm/attach.hpp"
#include "stack/jvm/thread_dump.hpp"
#include "stack/threads.hpp"

namespace stack {
namespace {

// The number of the innermost namespace, which NSpid (proc(5)) has last.
pid_t innermost(std::string_view numbers) {
  numbers.remove_prefix(numbers.find_last_of(" \t") + 1);
  pid_t number = 0;
  std::from_chars(numbers.data(), numbers.data() + numbers.size(), number);
  return number;
}

jvm::KernelThreads kernel_threads(const Process& process) {
  jvm::KernelThreads all;
  const auto own = read_below(process.proc_fd, "status", 16 * 1024);
  const bool one_namespace = own && status_value(*own, "NSpid").find_first_of(" \t") == std::string_view::npos;
  for (const pid_t tid : list_threads(process.proc_fd)) {
    const std::string folder = "task/" + std::to_string(tid) + "/";
    const auto text = read_below(process.proc_fd, folder + "stat", 4096);
    const auto stat = text ? parse_stat(*text) : std::nullopt;
    if (!stat) continue;
    pid_t number = tid;
    if (!one_namespace) {
      const auto status = read_below(process.proc_fd, folder + "status", 16 * 1024);
      number = status ? innermost(status_value(*status, "NSpid")) : 0;
    }
    if (number > 0) all[number] = {tid, stat->state == 'R'};
  }
  return all;
}

class JvmReader final : public RuntimeReader {
 public:
  explicit JvmReader(const Subject& subject) : process_(subject.process), living_(subject.living) {}

  std::string_view mode() const override { return "jvm"; }
  std::string runtime() const override { return "HotSpot"; }
  bool has_stacks() const override { return !dump_.text.empty(); }

  bool gather(const Options& options, Hold& hold) override {
    dump_ = jvm::dump_threads(process_, living_, options.act, hold);
    if (has_stacks()) kernel_ = kernel_threads(process_);
    return !dump_.cancelled;
  }

  RuntimeStacks digest(const Options& options, Hold& /*hold*/) override {
    RuntimeStacks stacks;
    stacks.runtime = runtime();
    if (!has_stacks()) {
      stacks.trouble = dump_.trouble;
      return stacks;
    }
    jvm::parse_thread_dump(dump_.text, kernel_, options.max_frames, stacks);
    stacks.paused = dump_.safepoint;
    if (stacks.threads.empty())
      stacks.note = "no thread could be made out in the VM's text, which is in threads.txt";
    else if (dump_.cut)
      stacks.note = "the VM's text was cut at " + std::to_string(jvm::text_limit >> 20) + " MiB";
    stacks.members.emplace_back("owners_of_locks", dump_.locks ? "true" : "false");
    stacks.artifacts.push_back({"threads.txt", "text/plain", std::move(dump_.text)});
    return stacks;
  }

 private:
  const Process& process_;
  pid_t living_;
  jvm::Dump dump_;
  jvm::KernelThreads kernel_;
};

}  // namespace

// OpenJ9 has a libjvm.so too, which leads to its own library; it has another attach protocol.
std::unique_ptr<RuntimeReader> detect_jvm(const Subject& subject) {
  bool hotspot = false;
  for (const Module& module : subject.modules) {
    if (module.name().starts_with("libj9vm")) return nullptr;
    hotspot |= module.name() == "libjvm.so";
  }
  return hotspot ? std::make_unique<JvmReader>(subject) : nullptr;
}

}  // namespace stack
