#include "plugin_under_test.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "link/protocol.hpp"

using namespace hatchd;
namespace json = boost::json;

WorkerProcess::WorkerProcess(const std::string& title) {
  auto [ours, theirs] = link::Channel::pair();
  channel = link::Channel{std::move(ours)};
  pid = ::fork();
  if (pid == 0) {
    ::dup2(theirs.get(), link::control_fd);
    ::close_range(link::control_fd + 1, ~0u, 0);
    char* const argv[] = {const_cast<char*>(title.c_str()), nullptr};
    ::execv(WORKER_PROGRAM, argv);
    ::_exit(127);
  }
}

WorkerProcess::~WorkerProcess() {
  if (!alive()) return;
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

std::string WorkerProcess::end(int timeout_ms) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (ended_.empty()) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid)
      ended_ = WIFSIGNALED(status) ? link::death_text("signal", WTERMSIG(status))
                                   : link::death_text("exit", WEXITSTATUS(status));
    else if (std::chrono::steady_clock::now() >= limit)
      return "running";
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return ended_;
}

UniqueFd fixture(const std::string& name) {
  UniqueFd object{::open((std::string(FIXTURES "/") + name + ".so").c_str(), O_RDONLY | O_CLOEXEC)};
  if (!object) throw std::runtime_error("no fixture " + name);
  return object;
}

ManifestAnswer manifest_of(const std::string& name, int timeout_ms) {
  WorkerProcess process{"hatchd: manifest"};
  const UniqueFd object = fixture(name);
  const int fd = object.get();
  process.channel.send("setup", {{"role", "manifest"}, {"rights", {{"capabilities", json::array{}}}}}, {&fd, 1});
  link::Message message;
  ManifestAnswer answer;
  if (process.channel.wait(message, timeout_ms) == link::Received::message) {
    answer.type = message.type;
    answer.body = std::move(message.body);
  }
  answer.end = process.end(answer.type.empty() ? 500 : 5000);
  return answer;
}

json::object Seen::result() {
  return outcome.result().empty() ? json::object{} : json::parse(outcome.result()).as_object();
}

std::string Seen::rendering(const std::string& name) {
  for (const auto& [each, text] : outcome.renderings())
    if (each == name) return text;
  return {};
}

PluginUnderTest::PluginUnderTest(const std::string& fixture_name, json::object setup)
    : process("hatchd: plugin " + fixture_name) {
  const ManifestAnswer known = manifest_of(fixture_name);
  if (known.type != "manifest")
    throw std::runtime_error(fixture_name + " has no manifest: " + json::serialize(known.body));
  auto [our_front, their_front] = link::Channel::pair();
  auto [our_targets, their_targets] = link::Channel::pair();
  front = link::Channel{std::move(our_front)};
  targets = link::Channel{std::move(our_targets)};

  json::object all{{"role", "plugin"},
                   {"rights", {{"capabilities", json::array{}}}},
                   {"plugin", known.body.at("plugin")},
                   {"configuration", json::object{}},
                   {"profiles", json::object{}},
                   {"targets", json::array{"web"}},
                   {"idle_ms", 60'000},
                   {"grace_ms", 300},
                   {"cache", false}};
  json::object& hatches = all["hatches"].emplace_object();
  for (const json::value& hatch : known.body.at("hatches").as_array())
    hatches[hatch.at("id").as_string()] = {{"timeout_ms", hatch.at("timeout_ms")},
                                           {"max_pause_us", hatch.at("max_pause_us")}};
  for (auto& [name, value] : setup) all[name] = value;

  const UniqueFd object = fixture(fixture_name);
  const int fds[] = {object.get(), their_front.get(), their_targets.get()};
  process.channel.send("setup", std::move(all), fds);
  link::Message message;
  if (process.channel.wait(message, 10'000) != link::Received::message || message.type != "ready")
    throw std::runtime_error(fixture_name + " is not ready: " + json::serialize(message.body));
}

std::string PluginUnderTest::start(const std::string& hatch, json::object params, json::object start, int stream) {
  auto [ours, theirs] = link::Channel::pair();
  const std::string id = new_ulid();
  json::object body{{"run", id},        {"hatch", hatch},     {"params", params},
                    {"format", "json"}, {"preflight", false}, {"caller", {{"name", "tester"}, {"via", "unix"}}}};
  for (auto& [name, value] : start) body[name] = value;
  const int fds[] = {theirs.get(), stream};
  front.send("start", std::move(body), {fds, stream < 0 ? 1u : 2u});
  channels_[id] = link::Channel{std::move(ours)};
  return last_id = id;
}

void PluginUnderTest::read_front() {
  for (;;) {
    link::Message message;
    const link::Received received = front.receive(message);
    if (received == link::Received::nothing) return;
    if (received != link::Received::message) {
      front_ended_ = true;
      return;
    }
    front_messages_[text_of(message.body, "run")].push_back(std::move(message));
  }
}

void PluginUnderTest::answer_targets() {
  link::Message message;
  while (targets && targets.receive(message) == link::Received::message) {
    if (!targets_answer) continue;
    const json::value tag = message.body["tag"];
    if (message.type == "open") {
      json::array processes;
      std::vector<UniqueFd> owned;
      std::vector<int> fds;
      for (int i = 0; i < target_processes; ++i) {
        processes.push_back(json::object{{"pid", ::getpid()},
                                         {"started", "2026-01-01T00:00:00.000Z"},
                                         {"started_ticks", 77},
                                         {"main", i == 0},
                                         {"uid", ::getuid()},
                                         {"gid", ::getgid()}});
        owned.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
        owned.emplace_back(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
      }
      for (const UniqueFd& fd : owned) fds.push_back(fd.get());
      targets.send("opened", {{"tag", tag}, {"target", "web"}, {"processes", processes}, {"counted", target_processes}},
                   fds);
    } else if (message.type == "file") {
      const std::string file = text_of(message.body, "file");
      if (file == "hosts") {
        targets.send("refused", {{"tag", tag}, {"problem", {{"code", "target-gone"}, {"detail", "no such file"}}}});
        continue;
      }
      const UniqueFd content{::memfd_create("file", MFD_CLOEXEC)};
      write_all(content.get(), "content of " + file);
      const int fd = content.get();
      targets.send("file", {{"tag", tag}}, {&fd, 1});
    }
  }
}

Seen PluginUnderTest::finish(const std::string& id, const std::function<void(const std::string&)>& on_event) {
  Seen seen;
  link::Channel& channel = channels_.at(id);
  std::map<std::int64_t, std::pair<std::string, UniqueFd>> open;
  bool channel_open = true;

  const auto drain = [&] {
    link::Message message;
    while (channel_open) {
      const link::Received received = channel.receive(message);
      if (received == link::Received::nothing) return;
      if (received != link::Received::message) {
        channel_open = false;
        return;
      }
      const std::int64_t tag = number_of(message.body, "tag");
      if (seen.outcome.take(message)) continue;
      if (message.type == "event") {
        const std::string event = text_of(message.body, "event");
        seen.events.push_back(std::move(message.body));
        if (on_event) on_event(event);
      } else if (message.type == "artifact") {
        const std::string name = text_of(message.body, "name");
        open[tag] = {name, UniqueFd{::memfd_create("artifact", MFD_CLOEXEC)}};
        const int fd = open[tag].second.get();
        channel.send("artifact", {{"tag", tag}}, {&fd, 1});
      } else if (message.type == "commit") {
        auto& [name, fd] = open[number_of(message.body, "of")];
        seen.artifacts[name] = read_memfd(fd.get(), 1 << 20).value_or("unreadable");
        channel.send("committed", {{"tag", tag}});
      } else if (message.type == "abort") {
        ++seen.aborted;
      }
    }
  };

  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(150);
  while (!seen.outcome.ended() && !seen.refused) {
    if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("the run does not end");
    pollfd entries[] = {
        {front.fd(), POLLIN, 0}, {channel_open ? channel.fd() : -1, POLLIN, 0}, {targets.fd(), POLLIN, 0}};
    ::poll(entries, 3, 100);
    answer_targets();
    drain();
    read_front();
    for (link::Message& message : front_messages_[id]) {
      if (message.type == "started") seen.started = message.body;
      if (message.type == "ended") seen.ended = message.body;
      if (message.type == "refused") seen.refused = problem_from_json(message.body.at("problem").as_object());
      seen.outcome.take(message);
    }
    front_messages_[id].clear();
    if (front_ended_ && !seen.outcome.ended() && !seen.refused)
      throw std::runtime_error("the plugin process left: " + process.end());
  }
  drain();
  channels_.erase(id);
  return seen;
}

Seen PluginUnderTest::run(const std::string& hatch, json::object params, json::object more,
                          const std::function<void(const std::string&)>& on_event) {
  return finish(start(hatch, std::move(params), std::move(more)), on_event);
}
