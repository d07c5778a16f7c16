#include "runs/keys.hpp"

#include <fcntl.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "runs/journal.hpp"

namespace hatchd::runs {

namespace json = boost::json;

namespace {

constexpr const char* file_name = "keys";

// JSON whose members are in one order, so that the order in which a client wrote them does not matter.
json::value sorted(const json::value& value) {
  if (const json::array* array = value.if_array()) {
    json::array out;
    for (const json::value& item : *array) out.push_back(sorted(item));
    return out;
  }
  const json::object* object = value.if_object();
  if (!object) return value;
  std::map<std::string_view, const json::value*> members;
  for (const auto& member : *object) members.emplace(std::string_view(member.key()), &member.value());
  json::object out;
  for (const auto& [name, member] : members) out[name] = sorted(*member);
  return out;
}

// Parameters of one run look like nothing else, not even those of another run: a table of digests tells nothing.
std::string bound_to(const std::string& run, const std::string& params) { return sha256(run + " " + params); }

}  // namespace

Keys::Key Keys::make(const std::string& caller, const std::string& hatch, const std::string& target,
                     const std::string& key, const json::object& params) {
  Key made;
  made.caller = sha256(caller);
  made.scope = sha256(json::serialize(json::array{caller, hatch, target, key}));
  made.params = sha256(json::serialize(sorted(params)));
  return made;
}

std::string Keys::line(const std::string& scope, const Entry& entry) {
  return json::serialize(
      json::object{{"scope", scope}, {"caller", entry.caller}, {"run", entry.run}, {"params", entry.params}});
}

void Keys::load(WallTime now) {
  const std::lock_guard lock(file_);
  UniqueFd fd{::openat(disk_.directory(), file_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!fd) return;
  std::vector<std::pair<std::string, Entry>> read;
  Journal journal(std::move(fd));
  while (const auto text = journal.next()) {
    const auto value = parse_json(*text);
    if (!value || !value->is_object()) continue;
    const json::object& object = value->get_object();
    Entry entry{text_of(object, "caller"), text_of(object, "run"), text_of(object, "params")};
    if (is_ulid(entry.run) && now - time_of(entry.run) <= lifetime)
      read.emplace_back(text_of(object, "scope"), std::move(entry));
  }
  // Written anew, without what is old or torn.
  std::string all;
  for (auto& [scope, entry] : read) {
    std::string text = line(scope, entry);
    all += Journal::entry(text);
    lines_.emplace_back(entry.run, std::move(text));
    release({entry.caller, scope, {}}, entries_.contains(scope) ? entries_[scope].run : std::string());
    ages_.emplace_back(entry.run, scope);
    ++of_caller_[entry.caller];
    entries_[scope] = std::move(entry);
  }
  if (auto done = replace_file(disk_.directory(), file_name, all, true); !done)
    log::warning("the idempotency keys could not be written anew", {{"problem", done.error().detail}});
}

void Keys::expire(WallTime now) {
  while (!ages_.empty() && now - time_of(ages_.front().first) > lifetime) {
    release({{}, ages_.front().second, {}}, ages_.front().first);
    ages_.pop_front();
  }
}

Result<std::optional<std::string>> Keys::first(const Key& key, WallTime now) {
  expire(now);
  const auto at = entries_.find(key.scope);
  if (at == entries_.end()) return std::optional<std::string>();
  if (at->second.params == bound_to(at->second.run, key.params)) return std::optional<std::string>(at->second.run);
  return refuse("idempotency-mismatch",
                "this Idempotency-Key belongs to run " + at->second.run + ", which had other parameters",
                "use a new key for a new request; a retry repeats the parameters of the first");
}

std::optional<unsigned> Keys::full(const Key& key, WallTime now) {
  expire(now);
  const auto own = of_caller_.find(key.caller);
  const bool many = own != of_caller_.end() && own->second >= max_of_caller;
  if (entries_.size() < max_count && !many) return std::nullopt;
  const auto oldest = std::find_if(ages_.begin(), ages_.end(), [&](const auto& age) {
    const auto at = entries_.find(age.second);
    return at != entries_.end() && at->second.run == age.first && (!many || at->second.caller == key.caller);
  });
  if (oldest == ages_.end()) return 1;
  const auto left = std::chrono::ceil<std::chrono::seconds>(time_of(oldest->first) + lifetime - now).count();
  return static_cast<unsigned>(std::max<std::int64_t>(left + 1, 1));
}

void Keys::claim(const Key& key, const std::string& run) {
  entries_[key.scope] = {key.caller, run, bound_to(run, key.params)};
  ages_.emplace_back(run, key.scope);
  ++of_caller_[key.caller];
}

void Keys::release(const Key& key, const std::string& run) {
  const auto at = entries_.find(key.scope);
  if (at == entries_.end() || at->second.run != run) return;
  const auto own = of_caller_.find(at->second.caller);
  if (own != of_caller_.end() && --own->second == 0) of_caller_.erase(own);
  entries_.erase(at);
}

Result<void> Keys::write(const Key& key, const std::string& run) {
  const std::lock_guard lock(file_);
  std::string text = line(key.scope, {key.caller, run, bound_to(run, key.params)});
  // Twice as long as ever needed: without what is too old it is short again.
  if (lines_.size() >= 2 * max_count) {
    const WallTime now = std::chrono::system_clock::now();
    std::string all;
    std::deque<std::pair<std::string, std::string>> alive;
    for (auto& [owner, old] : lines_)
      if (now - time_of(owner) <= lifetime) {
        all += Journal::entry(old);
        alive.emplace_back(owner, std::move(old));
      }
    lines_ = std::move(alive);
    if (auto done = replace_file(disk_.directory(), file_name, all, true); !done) return done;
  }
  if (auto done = append_file(disk_.directory(), file_name, Journal::entry(text), true); !done) return done;
  lines_.emplace_back(run, std::move(text));
  return {};
}

}  // namespace hatchd::runs
