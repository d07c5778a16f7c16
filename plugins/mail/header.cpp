#include "mail/header.hpp"

#include <algorithm>

namespace mail {
namespace {

constexpr std::size_t max_hops = 30, max_hop = 400;

// Calls visit(name, value) for each field, unfolded, until the head ends.
template <class Visit>
void each_field(std::string_view head, Visit visit) {
  std::string name, value;
  while (!head.empty()) {
    const std::size_t end = std::min(head.find('\n'), head.size());
    std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 1, head.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) break;
    if (line[0] == ' ' || line[0] == '\t') {
      if (value.size() < 4096) (value += ' ') += trimmed(line);
      continue;
    }
    if (!name.empty()) visit(name, value);
    const std::size_t colon = std::min(line.find(':'), line.size());
    name = lower(trimmed(line.substr(0, colon)));
    value = trimmed(line.substr(std::min(colon + 1, line.size())));
  }
  if (!name.empty()) visit(name, value);
}

}  // namespace

bool is_of_run(std::string_view head, std::string_view run_id) {
  bool found = false;
  each_field(head, [&](const std::string& name, const std::string& value) {
    found = found || (name == "x-hatchd-run" && value == run_id);
  });
  return found;
}

std::vector<std::string> hops_of(std::string_view head, const Masker& mask) {
  std::vector<std::string> hops;
  each_field(head, [&](const std::string& name, const std::string& value) {
    if (name == "received" && hops.size() < max_hops) hops.push_back(mask(value, max_hop));
  });
  std::reverse(hops.begin(), hops.end());
  return hops;
}

}  // namespace mail
