#include "api/members.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>

#include "base/json.hpp"

namespace hatchd::api {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {
constexpr auto fresh = 2s;
// The app has 200 ms to answer. The first question starts the plugin's process, too.
constexpr std::chrono::milliseconds patience = 400ms, first_patience = 2s;
constexpr std::size_t max_known = 512;
constexpr std::ptrdiff_t max_open = 8;
}  // namespace

void Members::use(catalogue::Settings settings) {
  settings_ = std::move(settings);
  for (auto& [key, known] : known_) known.asked = {};
}

runs::asio::awaitable<std::shared_ptr<const catalogue::Catalogue>> Members::look(
    std::shared_ptr<const catalogue::Catalogue> base, std::vector<std::string> targets) {
  std::vector<Key> keys;
  const SteadyTime begun = std::chrono::steady_clock::now();
  SteadyTime until = begun + patience;
  forget_others(targets);
  for (const catalogue::Hatch& family : base->families()) {
    if (!family.enabled) continue;
    for (const std::string& target : targets) {
      const Key key{family.id, target};
      if (known_.size() >= max_known && !known_.contains(key)) break;
      keys.push_back(key);
      Known& known = known_[key];
      if (!known.answered && known.stale.empty()) until = begun + first_patience;
    }
  }
  // A few at a time, so that the targets of a large house do not take all places for runs.
  const auto ask_more = [&] {
    const SteadyTime now = std::chrono::steady_clock::now();
    auto open = std::count_if(known_.begin(), known_.end(), [](const auto& entry) { return entry.second.asking; });
    for (const catalogue::Hatch& family : base->families())
      for (const std::string& target : targets) {
        const auto at = known_.find({family.id, target});
        if (at == known_.end() || open >= max_open) continue;
        Known& known = at->second;
        if (!family.enabled || known.asking || (known.asked != SteadyTime{} && now < known.asked + fresh)) continue;
        known.asking = true;
        known.asked = now;
        ++open;
        std::shared_ptr<const catalogue::Hatch> shared(base, &family);
        runs::asio::co_spawn(executor_, ask(std::move(shared), target), runs::asio::detached);
      }
  };
  const auto waits = [&] {
    ask_more();
    return std::any_of(keys.begin(), keys.end(), [&](const Key& key) {
      const auto at = known_.find(key);
      return at != known_.end() && at->second.asking;
    });
  };
  while (waits() && std::chrono::steady_clock::now() < until) co_await changed_.wait(until);

  std::vector<catalogue::Hatch> members;
  for (const catalogue::Hatch& family : base->families())
    for (const std::string& target : targets) {
      const auto at = known_.find({family.id, target});
      if (at == known_.end() || !at->second.answered) continue;
      const Known& known = at->second;
      for (catalogue::Hatch& hatch : catalogue::members_of(family, target, known.described, settings_)) {
        hatch.stale = known.asking ? "the app has not answered yet" : known.stale;
        members.push_back(std::move(hatch));
      }
    }
  if (members.empty()) co_return base;
  co_return base->with(catalogue::merged(std::move(members)));
}

runs::asio::awaitable<void> Members::ask(std::shared_ptr<const catalogue::Hatch> family, std::string target) {
  const Key key{family->id, target};
  runs::Order order;
  order.hatch = std::move(family);
  order.target = std::move(target);
  order.caller.name = "hatchd";
  order.caller.via = "internal";
  order.preflight = true;
  std::string why;
  std::optional<json::array> described;
  try {
    auto started = runner_.start(std::move(order));
    if (!started) {
      why = started.error().problem.detail;
    } else {
      const runs::LivePtr live = *started;
      co_await runner_.wait(live);
      const auto result = live->kept.find("result.json");
      if (live->run.error) why = live->run.error->detail;
      if (why.empty() && result != live->kept.end()) {
        auto work = [text = std::move(result->second)] { return parse_json(text); };
        const auto parsed = co_await pool_.run(std::move(work));
        const json::object* object = parsed && parsed->is_object() ? &parsed->get_object() : nullptr;
        if (const json::array* list = object ? array_of(*object, "hatches") : nullptr) described = *list;
      }
      if (why.empty() && !described) why = "the plugin did not say which hatches there are";
    }
  } catch (const std::exception& error) {
    why = error.what();
  }
  if (const auto at = known_.find(key); at != known_.end()) {
    at->second.asking = false;
    at->second.stale = why;
    if (described) {
      at->second.described = std::move(*described);
      at->second.answered = true;
    }
  }
  changed_.notify();
}

// Targets come and go by the patterns of the configuration.
void Members::forget_others(const std::vector<std::string>& targets) {
  if (known_.size() < max_known) return;
  std::erase_if(known_, [&](const auto& entry) {
    return !entry.second.asking && std::find(targets.begin(), targets.end(), entry.first.second) == targets.end();
  });
}

}  // namespace hatchd::api
