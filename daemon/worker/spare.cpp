#include "worker/spare.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <boost/json.hpp>
#include <new>
#include <utility>

#include "base/json.hpp"

namespace hatchd::worker {

namespace json = boost::json;

RunProcess::RunProcess(RunProcess&& other) noexcept
    : pid(std::exchange(other.pid, -1)),
      cancel(std::move(other.cancel)),
      board(std::exchange(other.board, nullptr)),
      errors(std::move(other.errors)),
      channel(std::move(other.channel)) {}

RunProcess& RunProcess::operator=(RunProcess&& other) noexcept {
  std::swap(pid, other.pid);
  std::swap(cancel, other.cancel);
  std::swap(board, other.board);
  std::swap(errors, other.errors);
  std::swap(channel, other.channel);
  return *this;
}

RunProcess::~RunProcess() {
  if (board) ::munmap(board, sizeof(PauseBoard));
}

UniqueFd RunProcess::prepare() {
  cancel = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  void* shared = ::mmap(nullptr, sizeof(PauseBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return {};
  board = new (shared) PauseBoard;
  return cancel ? errors.open() : UniqueFd{};
}

bool send_task(link::Channel& channel, const Task& task) {
  std::vector<int> fds{task.channel.fd()};
  if (task.stream) fds.push_back(task.stream.get());
  json::array processes;
  for (const OpenProcess& process : task.processes) {
    fds.push_back(process.pidfd.get());
    fds.push_back(process.directory.get());
    json::array files;
    for (std::size_t i = 0; i < OpenProcess::file_count; ++i) {
      files.push_back(process.files[i] ? 0 : process.file_errors[i]);
      if (process.files[i]) fds.push_back(process.files[i].get());
    }
    const hatch_process& facts = process.facts;
    processes.push_back({{"pid", facts.pid},
                         {"started_ticks", facts.start_ticks},
                         {"pid_namespace", facts.pid_namespace},
                         {"uid", facts.uid},
                         {"gid", facts.gid},
                         {"main", facts.main != 0},
                         {"files", std::move(files)}});
  }
  if (fds.size() > link::Channel::max_fds) return false;
  return channel.send("task",
                      {{"run", task.id},
                       {"key", task.key},
                       {"format", task.format},
                       {"target", task.target_name},
                       {"preflight", task.preflight},
                       {"recording", task.recording},
                       {"params", task.params},
                       {"configuration", task.configuration},
                       {"profile", task.profile},
                       {"caller", task.caller},
                       {"log", task.log},
                       {"counted", task.processes_counted},
                       {"deadline_ns", task.deadline.time_since_epoch() / std::chrono::nanoseconds(1)},
                       {"max_pause_us", task.max_pause_us},
                       {"stream", static_cast<bool>(task.stream)},
                       {"processes", std::move(processes)}},
                      fds, 0);
}

bool take_task(link::Message& message, Task& task) {
  json::object& body = message.body;
  auto fd = message.fds.begin();
  const auto next = [&] { return fd == message.fds.end() ? UniqueFd{} : std::move(*fd++); };
  const auto object = [&](const char* name) {
    json::value* value = body.if_contains(name);
    return value && value->is_object() ? std::move(value->get_object()) : json::object{};
  };
  if (message.type != "task") return false;
  task.id = text_of(body, "run");
  task.key = text_of(body, "key");
  task.format = text_of(body, "format");
  task.target_name = text_of(body, "target");
  task.preflight = flag_of(body, "preflight");
  task.recording = flag_of(body, "recording");
  task.params = object("params");
  task.configuration = object("configuration");
  task.profile = object("profile");
  task.caller = object("caller");
  task.log = object("log");
  task.processes_counted = number_of(body, "counted");
  task.deadline = SteadyTime{std::chrono::nanoseconds{number_of(body, "deadline_ns")}};
  task.max_pause_us = static_cast<std::uint64_t>(number_of(body, "max_pause_us"));
  task.channel = link::Channel{next()};
  if (flag_of(body, "stream")) task.stream = next();
  const json::array* processes = array_of(body, "processes");
  if (!processes) return false;
  for (const json::value& entry : *processes) {
    if (!entry.is_object()) return false;
    OpenProcess& process = task.processes.emplace_back();
    process.facts = facts_of(entry.get_object());
    process.pidfd = next();
    process.directory = next();
    const json::array* files = array_of(entry.get_object(), "files");
    if (!files || files->size() != OpenProcess::file_count) return false;
    for (std::size_t i = 0; i < OpenProcess::file_count; ++i) {
      process.file_errors[i] = files->at(i).is_int64() ? static_cast<int>(files->at(i).get_int64()) : -EACCES;
      if (process.file_errors[i] == 0) process.files[i] = next();
    }
  }
  return static_cast<bool>(task.channel);
}

}  // namespace hatchd::worker
