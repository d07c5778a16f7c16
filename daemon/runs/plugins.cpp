#include "runs/plugins.hpp"

#include <boost/asio/detached.hpp>

#include "base/json.hpp"
#include "base/log.hpp"

namespace hatchd::runs {

using namespace std::chrono_literals;

namespace {
// Opening a plugin with large libraries takes a second at worst; the supervisor may be in a back-off before that.
constexpr auto start_limit = 15s;
// Of a process that keeps ending. A shorter rest is waited for.
constexpr auto patience = 2s;
}  // namespace

asio::awaitable<Result<std::shared_ptr<PluginLink>>> Plugins::get(std::string name) {
  const SteadyTime until = std::chrono::steady_clock::now() + start_limit;
  Slot& slot = slots_[name];  // slots are never removed: the reference stays good
  const unsigned before = slot.answers;
  while (!slot.link || slot.link->gone) {
    if (slot.answers != before) co_return tl::unexpected(slot.refusal);
    if (!slot.asked && !(slot.asked = ask_(name))) co_return refuse("shutting-down", "hatchd is stopping");
    if (std::chrono::steady_clock::now() >= until) {
      slot.asked = false;
      co_return refuse("run-failed", "the process of plugin " + name + " did not start in time");
    }
    co_await changed_.wait(until);
  }
  co_return slot.link;
}

void Plugins::arrived(const std::string& name, pid_t pid, link::Channel channel) {
  Slot& slot = slots_[name];
  slot.asked = false;
  slot.link = std::make_shared<PluginLink>(executor_, name, pid, std::move(channel));
  std::erase_if(slot.all, [](const auto& link) { return link.expired(); });
  slot.all.push_back(slot.link);
  asio::co_spawn(executor_, listen(slot.link), asio::detached);
  changed_.notify();
}

void Plugins::retire(const std::string& name) {
  if (const auto slot = slots_.find(name); slot != slots_.end()) slot->second.link.reset();
}

void Plugins::refused(const std::string& name, Problem problem) {
  Slot& slot = slots_[name];
  slot.asked = false;
  ++slot.answers;
  slot.refusal = std::move(problem);
  changed_.notify();
}

void Plugins::ended(const std::string& name, pid_t pid, std::string how, std::chrono::milliseconds rest) {
  slots_[name].rest_until = std::chrono::steady_clock::now() + rest;
  for (const auto& weak : slots_[name].all) {
    const auto link = weak.lock();
    if (!link || link->pid != pid || !link->how.empty()) continue;
    link->how = std::move(how);
    return link->changed.notify();
  }
}

unsigned Plugins::rest(const std::string& name, SteadyTime now) const {
  const auto at = slots_.find(name);
  if (at == slots_.end() || (at->second.link && !at->second.link->gone)) return 0;
  const auto left = at->second.rest_until - now;
  return left <= patience ? 0 : static_cast<unsigned>(std::chrono::ceil<std::chrono::seconds>(left).count());
}

void Plugins::close() {
  for (auto& [name, slot] : slots_)
    for (const auto& weak : slot.all)
      if (const auto link = weak.lock()) link->receiver.close();
}

asio::awaitable<void> Plugins::listen(std::shared_ptr<PluginLink> link) {
  while (auto message = co_await link->receiver.next()) {
    const auto at = link->runs.find(text_of(message->body, "run"));
    const LivePtr live = at == link->runs.end() ? nullptr : at->second.lock();
    if (!live) {
      log::debug("a plugin spoke of a run that is not its own", {{"plugin", link->name}, {"type", message->type}});
      continue;
    }
    // The first word counts: a captured plugin process cannot change what it said.
    std::optional<link::Message>* slot = message->type == "started"   ? &live->started
                                         : message->type == "refused" ? &live->refused
                                         : message->type == "ended"   ? &live->ended
                                                                      : nullptr;
    if (!slot || *slot) {
      log::debug("a plugin's message is out of turn", {{"plugin", link->name}, {"type", message->type}});
      continue;
    }
    *slot = std::move(*message);
    live->changed.notify();
  }
  link->receiver.close();
  link->gone = true;
  link->changed.notify();
  for (const auto& [id, weak] : link->runs)
    if (const LivePtr live = weak.lock()) live->changed.notify();
  changed_.notify();
}

}  // namespace hatchd::runs
