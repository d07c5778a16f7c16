#include "stack/jvm/jvm.hpp"

#include "stack/jvm/attach.hpp"
#include "stack/jvm/thread_dump.hpp"
#include "stack/threads.hpp"

namespace stack {
namespace {

class JvmReader final : public RuntimeReader {
 public:
  explicit JvmReader(const Subject& subject) : process_(subject.process), living_(subject.living) {}

  std::string_view mode() const override { return "jvm"; }
  std::string runtime() const override { return "HotSpot"; }
  bool has_stacks() const override { return !dump_.text.empty(); }

  bool gather(const Options& options, Hold& hold) override {
    dump_ = jvm::dump_threads(process_, living_, options.act, hold);
    // Who waits in the picture that the VM gave does not run in it, whatever it does by now: with many threads, asking the
    // kernel for each takes as long as the VM's dump.
    if (has_stacks()) kernel_ = threads_by_own_number(process_.proc_fd, jvm::waiting_threads(dump_.text));
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
  KernelThreads kernel_;
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
