#include "runs/plugins.hpp"

#include <boost/asio/detached.hpp>

#include "base/json.hpp"
#include "base/log.hpp"

namespace hatchd::runs {

using namespace std::chrono_literals;

namespace {
// Opening a plugin with large libraries takes a second at worst; the supervisor may be in a back-off before that.
constexpr auto start_limit = 15s;
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

void Plugins::arrived(const std::string& name, link::Channel channel) {
  Slot& slot = slots_[name];
  slot.asked = false;
  slot.link = std::make_shared<PluginLink>(executor_, name, std::move(channel));
  asio::co_spawn(executor_, listen(slot.link), asio::detached);
  changed_.notify();
}

void Plugins::refused(const std::string& name, Problem problem) {
  Slot& slot = slots_[name];
  slot.asked = false;
  ++slot.answers;
  slot.refusal = std::move(problem);
  changed_.notify();
}

void Plugins::ended(const std::string& name, std::string how) {
  Slot& slot = slots_[name];
  // Of several that are gone, the supervisor reaps the oldest first; otherwise it is the one whose channel is about to
  // end.
  std::shared_ptr<PluginLink> link;
  while (!link && !slot.unexplained.empty()) {
    link = slot.unexplained.front().lock();
    slot.unexplained.erase(slot.unexplained.begin());
  }
  if (!link) link = slot.link;
  if (!link) return;
  link->how = std::move(how);
  link->changed.notify();
}

void Plugins::close() {
  for (auto& [name, slot] : slots_)
    if (slot.link) slot.link->receiver.close();
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
  if (link->how.empty()) {
    auto& unexplained = slots_[link->name].unexplained;
    if (unexplained.size() < 16) unexplained.push_back(link);
  }
  link->changed.notify();
  for (const auto& [id, weak] : link->runs)
    if (const LivePtr live = weak.lock()) live->changed.notify();
  changed_.notify();
}

}  // namespace hatchd::runs
