#include "runs/keys.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>

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

std::string Keys::line(const std::string& scope, const Entry& entry, WallTime claimed) {
  return json::serialize(json::object{{"scope", scope},
                                      {"caller", entry.caller},
                                      {"run", entry.run},
                                      {"params", entry.params},
                                      {"claimed", rfc3339(claimed)}});
}

void Keys::load(WallTime now, SteadyTime steady) {
  const std::lock_guard lock(file_);
  UniqueFd fd{::openat(disk_.directory(), file_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!fd && errno == ENOENT) return;
  struct stat facts {};
  if (!fd || ::fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
    log::error(
        "the idempotency keys cannot be read, so a retry of what ran before this start may run again",
        {{"why", fd ? "it is not a file" : errno_text(errno)},
         {"remedy", "give the file \"keys\" in the folder of the runs to the user of hatchd's front, or remove it"}});
    return;
  }
  std::string all;  // to be written anew, without what is old or torn
  Journal journal(std::move(fd));
  while (const auto text = journal.next()) {
    const auto value = parse_json(*text);
    if (!value || !value->is_object()) continue;
    const json::object& object = value->get_object();
    Entry entry{text_of(object, "caller"), text_of(object, "run"), text_of(object, "params")};
    if (!is_ulid(entry.run)) continue;
    // Of a clock that ran ahead: it lives for a day from here on.
    const WallTime claimed = std::min(now, parse_rfc3339(text_of(object, "claimed")).value_or(time_of(entry.run)));
    if (now - claimed > lifetime) continue;
    const SteadyTime ends = steady + lifetime - std::chrono::duration_cast<SteadyTime::duration>(now - claimed);
    const std::string scope = text_of(object, "scope");
    std::string again = line(scope, entry, claimed);
    all += Journal::entry(again);
    lines_.push_back({ends, std::move(again)});
    release({entry.caller, scope, {}}, entries_.contains(scope) ? entries_[scope].run : std::string());
    ages_.push_back({ends, entry.run, scope});
    ++of_caller_[entry.caller];
    entries_[scope] = std::move(entry);
  }
  std::stable_sort(ages_.begin(), ages_.end(), [](const Age& a, const Age& b) { return a.ends < b.ends; });
  if (const auto size = static_cast<std::uint64_t>(facts.st_size); journal.good() < size)
    log::warning("what is torn at the end of the idempotency keys is cut", {{"bytes", size - journal.good()}});
  if (auto done = replace_file(disk_.directory(), file_name, all, true); !done)
    log::warning("the idempotency keys could not be written anew", {{"problem", done.error().detail}});
}

void Keys::expire(SteadyTime now) {
  while (!ages_.empty() && now > ages_.front().ends) {
    release({{}, ages_.front().scope, {}}, ages_.front().run);
    ages_.pop_front();
  }
}

Result<std::optional<std::string>> Keys::first(const Key& key, SteadyTime now) {
  expire(now);
  const auto at = entries_.find(key.scope);
  if (at == entries_.end()) return std::optional<std::string>();
  if (at->second.params == bound_to(at->second.run, key.params)) return std::optional<std::string>(at->second.run);
  return refuse("idempotency-mismatch",
                "this Idempotency-Key belongs to run " + at->second.run + ", which had other parameters",
                "use a new key for a new request; a retry repeats the parameters of the first");
}

std::optional<unsigned> Keys::full(const Key& key, SteadyTime now) {
  expire(now);
  const auto own = of_caller_.find(key.caller);
  const bool many = own != of_caller_.end() && own->second >= max_of_caller;
  if (entries_.size() < max_count && !many) return std::nullopt;
  const auto oldest = std::find_if(ages_.begin(), ages_.end(), [&](const Age& age) {
    const auto at = entries_.find(age.scope);
    return at != entries_.end() && at->second.run == age.run && (!many || at->second.caller == key.caller);
  });
  if (oldest == ages_.end()) return 1;
  const auto left = std::chrono::ceil<std::chrono::seconds>(oldest->ends - now).count();
  return static_cast<unsigned>(std::max<std::int64_t>(left + 1, 1));
}

void Keys::claim(const Key& key, const std::string& run, SteadyTime now) {
  entries_[key.scope] = {key.caller, run, bound_to(run, key.params)};
  ages_.push_back({now + lifetime, run, key.scope});
  ++of_caller_[key.caller];
}

void Keys::release(const Key& key, const std::string& run) {
  const auto at = entries_.find(key.scope);
  if (at == entries_.end() || at->second.run != run) return;
  const auto own = of_caller_.find(at->second.caller);
  if (own != of_caller_.end() && --own->second == 0) of_caller_.erase(own);
  entries_.erase(at);
}

Result<void> Keys::write(const Key& key, const std::string& run, WallTime now) {
  const std::lock_guard lock(file_);
  const SteadyTime steady = std::chrono::steady_clock::now();
  std::string text = line(key.scope, {key.caller, run, bound_to(run, key.params)}, now);
  // Twice as long as ever needed: without what is too old it is short again.
  if (lines_.size() >= 2 * max_count) {
    std::string all;
    std::deque<Line> alive;
    for (Line& old : lines_)
      if (steady <= old.ends) {
        all += Journal::entry(old.text);
        alive.push_back(std::move(old));
      }
    lines_ = std::move(alive);
    if (auto done = replace_file(disk_.directory(), file_name, all, true); !done) return done;
  }
  if (auto done = append_file(disk_.directory(), file_name, Journal::entry(text), true); !done) return done;
  lines_.push_back({steady + lifetime, std::move(text)});
  return {};
}

}  // namespace hatchd::runs
