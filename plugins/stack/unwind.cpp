#include "stack/unwind.hpp"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stack {

// A module as libdwfl's callbacks have it.
struct Reported {
  const Module* module;
  std::vector<std::string> debug_files;  // looked for
};

// What the callbacks work on. `thread` is the one whose stack is being unwound.
struct Unwinder::State {
  std::deque<Reported> modules;
  const ProcessCopy* process = nullptr;
  const ThreadCopy* thread = nullptr;
  RawStack* out = nullptr;
  unsigned max_frames = 0;
  std::uint64_t last_sp = 0;
  bool beyond_copy = false;
};

namespace {

const Module* find_module(const ProcessCopy& process, std::uint64_t address) {
  const auto after = std::upper_bound(process.modules.begin(), process.modules.end(), address,
                                      [](std::uint64_t a, const Module& m) { return a < m.low; });
  if (after == process.modules.begin()) return nullptr;
  const Module& module = *std::prev(after);
  return address < module.high ? &module : nullptr;
}

// ---- ELF files: our own descriptors
// -----------------------------------------------------------------------------------

// libdwfl owns what it is given, so it gets a duplicate. `userdata` is ours since the module was reported.
int find_elf(Dwfl_Module*, void** userdata, const char*, Dwarf_Addr, char** file_name, Elf** elf) {
  if (!*userdata) return -1;
  const Module* const module = static_cast<const Reported*>(*userdata)->module;
  if (!module->image.empty()) {
    // libelf does not write to the image unless it is asked to.
    *elf = elf_memory(const_cast<char*>(module->image.data()), module->image.size());
    return -1;
  }
  if (!module->file) return -1;
  *file_name = ::strdup(module->path.c_str());
  return ::fcntl(module->file.get(), F_DUPFD_CLOEXEC, 3);
}

int open_debug_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat info {};
  if (fd >= 0 && (::fstat(fd, &info) < 0 || !S_ISREG(info.st_mode))) {
    ::close(fd);
    return -1;
  }
  return fd;
}

// Separate debug files of this machine, by build-id, then by debug link. libdwfl's own search would also ask servers in
// the network (DEBUGINFOD_URLS); this one never does.
int find_debuginfo(Dwfl_Module* dwfl_module, void** userdata, const char*, Dwarf_Addr, const char* file,
                   const char* link, GElf_Word, char** found) {
  std::vector<std::string> candidates;
  const unsigned char* bits = nullptr;
  GElf_Addr address = 0;
  if (const int size = dwfl_module_build_id(dwfl_module, &bits, &address); size >= 2 && size <= 64) {
    std::string path = "/usr/lib/debug/.build-id/";
    char hex[3];
    for (int i = 0; i < size; ++i) {
      std::snprintf(hex, sizeof hex, "%02x", bits[i]);
      path += hex;
      if (i == 0) path += '/';
    }
    candidates.push_back(path + ".debug");
  }
  const std::string_view link_name = link ? link : "";
  if (!link_name.empty() && link_name.find('/') == link_name.npos && file && *file == '/') {
    const std::string directory = std::string(file).substr(0, std::string_view{file}.rfind('/') + 1);
    candidates.push_back("/usr/lib/debug" + directory + std::string(link_name));
  }
  for (const std::string& path : candidates) {
    if (*userdata) static_cast<Reported*>(*userdata)->debug_files.push_back(path);
    const int fd = open_debug_file(path);
    if (fd < 0) continue;
    *found = ::strdup(path.c_str());
    return fd;
  }
  return -1;
}

constexpr Dwfl_Callbacks file_callbacks = {find_elf, find_debuginfo, nullptr, nullptr};

// ---- threads: our own copies
// -------------------------------------------------------------------------------------------

pid_t next_thread(Dwfl*, void*, void**) { return 0; }

bool get_thread(Dwfl*, pid_t tid, void* argument, void** thread_argument) {
  *thread_argument = argument;
  return static_cast<Unwinder::State*>(argument)->thread->tid == tid;
}

bool memory_read(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* argument) {
  auto& state = *static_cast<Unwinder::State*>(argument);
  const ThreadCopy& thread = *state.thread;
  const std::uint64_t offset = address - thread.stack_start;
  if (address < thread.stack_start || thread.stack.size() < sizeof *result ||
      offset > thread.stack.size() - sizeof *result) {
    state.beyond_copy = true;
    return false;
  }
  std::memcpy(result, thread.stack.data() + offset, sizeof *result);
  return true;
}

bool set_initial_registers(Dwfl_Thread* thread, void* argument) {
  const Registers& r = *static_cast<Unwinder::State*>(argument)->thread->registers;
  dwfl_thread_state_register_pc(thread, r.pc());
  if (r.complete) return dwfl_thread_state_registers(thread, 0, std::min(Registers::count, 32U), r.values.data());
  return dwfl_thread_state_registers(thread, Registers::sp_number, 1, &r.values[Registers::sp_number]);
}

constexpr Dwfl_Thread_Callbacks thread_callbacks = {next_thread,           get_thread, memory_read,
                                                    set_initial_registers, nullptr,    nullptr};

int frame(Dwfl_Frame* dwfl_frame, void* argument) {
  auto& state = *static_cast<Unwinder::State*>(argument);
  RawStack& out = *state.out;
  Dwarf_Addr pc = 0;
  bool activation = false;
  if (!dwfl_frame_pc(dwfl_frame, &pc, &activation)) return DWARF_CB_ABORT;
  Dwarf_Word sp = 0;
  if (dwfl_frame_reg(dwfl_frame, Registers::sp_number, &sp) == 0) {
    // Callers lie further up. A chain that does not go up is corrupt and might never end; only the step out of a signal
    // handler may go down, from a stack of its own (sigaltstack(2)).
    if (!out.frames.empty() && !activation && sp <= state.last_sp && !(Registers::count == 33 && sp == state.last_sp)) {
      out.truncated = true;
      out.error = "the chain of frames is corrupt: it does not lead up the stack";
      return DWARF_CB_ABORT;
    }
    state.last_sp = sp;
  }
  if (out.frames.size() >= state.max_frames) {
    out.truncated = true;
    return DWARF_CB_ABORT;
  }
  out.frames.push_back({pc, activation || pc == 0 ? pc : pc - 1});
  return DWARF_CB_OK;
}

}  // namespace

std::string why_cut(const ThreadCopy& thread) {
  std::string why = "the rest takes registers that only a stop would show";
  if (thread.spared) why += ", and a stop would end its " + thread.waiting_on + " with EINTR; interrupt=true allows it";
  return why;
}

Unwinder::Unwinder(const ProcessCopy& process) : process_(process), state_(std::make_unique<State>()) {
  ::unsetenv("DEBUGINFOD_URLS");
  state_->process = &process;
  dwfl_ = dwfl_begin(&file_callbacks);
  if (!dwfl_) throw std::runtime_error(std::string("libdwfl: ") + dwfl_errmsg(-1));
  dwfl_report_begin(dwfl_);
  for (const Module& module : process.modules) {
    Dwfl_Module* const reported =
        dwfl_report_module(dwfl_, std::string(module.name()).c_str(), module.low, module.high);
    void** userdata = nullptr;
    if (reported && dwfl_module_info(reported, &userdata, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr) &&
        userdata)
      *userdata = &state_->modules.emplace_back(Reported{&module, {}});
  }
  dwfl_report_end(dwfl_, nullptr, nullptr);
}

Unwinder::~Unwinder() { dwfl_end(dwfl_); }

const Module* Unwinder::module_at(std::uint64_t address) const { return find_module(process_, address); }

std::span<const std::string> Unwinder::debug_files(const Module& module) const {
  for (const Reported& reported : state_->modules)
    if (reported.module == &module) return reported.debug_files;
  return {};
}

RawStack Unwinder::unwind(const ThreadCopy& thread, unsigned max_frames) {
  RawStack out;
  state_->thread = &thread;
  state_->out = &out;
  state_->max_frames = max_frames;
  state_->last_sp = 0;
  state_->beyond_copy = false;
  // The first file that opens tells the processor; without any the frames end at the first.
  if (dwfl_pid(dwfl_) < 0 && !dwfl_attach_state(dwfl_, nullptr, process_.pid, &thread_callbacks, state_.get())) {
    out.frames.push_back({thread.registers->pc(), thread.registers->pc()});
    out.truncated = true;
    out.error = "none of the target's files could be opened, so there are no unwind tables";
    return out;
  }
  const int answer = dwfl_getthread_frames(dwfl_, thread.tid, &frame, state_.get());
  if (answer != 0 && !out.truncated) {
    out.truncated = true;
    if (state_->beyond_copy && thread.stack_cut)
      out.error =
          "the stack is deeper than the " + std::to_string(thread.stack.size() / 1024) + " KiB that were copied";
    else if (!thread.registers->complete)
      out.error = why_cut(thread);
    else if (state_->beyond_copy)
      out.error = "the chain of frames leaves the stack";
    else
      out.error = "there are no unwind tables for the last frame";
  }
  if (out.frames.empty()) out.frames.push_back({thread.registers->pc(), thread.registers->pc()});
  return out;
}

}  // namespace stack
