#include "audit/refusals.hpp"

#include <boost/json.hpp>

#include "hatch/json.hpp"

namespace hatchd::audit {

namespace json = boost::json;

namespace {

constexpr std::size_t max_path = 200;
const std::string others = "others";

json::object line_of(const Refusal& call, std::uint64_t count, const std::string& first, const std::string& last) {
  json::object line = entry("refused");
  line["source"] = hatch::printable(call.source);
  line["code"] = call.code;
  line["status"] = call.status;
  line["method"] = hatch::printable(std::string_view(call.method).substr(0, 32));
  line["path"] = hatch::printable(std::string_view(call.path).substr(0, max_path));
  line["hatch"] =
      call.hatch.empty() ? json::value(nullptr) : json::value(hatch::printable(call.hatch.substr(0, max_path)));
  add_caller(line, call.caller, call.origin);
  line["count"] = count;
  line["first"] = first;
  line["last"] = last;
  return line;
}

}  // namespace

std::optional<json::object> Refusals::note(const Refusal& call, SteadyTime now) {
  const std::string time = rfc3339(std::chrono::system_clock::now());
  Kind kind{call.source, call.caller.name, call.code};
  auto found = counts_.find(kind);
  if (found == counts_.end() && counts_.size() >= max_kinds) {
    kind = {others, "", call.code};
    found = counts_.find(kind);
  }
  if (found == counts_.end()) {
    Count count{now, 0, time, time, call};
    if (std::get<0>(kind) == others) count.call.source = others;
    const json::object line = line_of(count.call, 1, time, time);
    counts_.emplace(std::move(kind), std::move(count));
    return line;
  }
  Count& count = found->second;
  if (count.more++ == 0) count.first = time;
  count.last = time;
  const std::string source = count.call.source;
  count.call = call;
  count.call.source = source;
  return std::nullopt;
}

std::vector<json::object> Refusals::due(SteadyTime now) {
  std::vector<json::object> lines;
  std::erase_if(counts_, [&](const auto& entry) {
    const Count& count = entry.second;
    if (now != SteadyTime::max() && now - count.since < window) return false;
    if (count.more > 0) lines.push_back(line_of(count.call, count.more, count.first, count.last));
    return true;
  });
  return lines;
}

}  // namespace hatchd::audit
