#include "stack/node/probe.hpp"

#include "hatch/json.hpp"
#include "stack/node/json.hpp"

namespace stack::node {

const std::string_view probe_parameters =
    R"js({"silent":true,"returnByValue":true,"expression":"(() => { const n = {}; try { for (const r of )js"
    R"js(process.getActiveResourcesInfo()) n[r] = (n[r] || 0) + 1; } catch {} return n; })()\n//# sourceURL=hatchd:stack.dump"})js";
const std::string_view probe_url = "hatchd:stack.dump";

std::string probe_result(std::string_view reply) {
  constexpr int max_kinds = 64;
  hatch::Object kinds;
  int count = 0;
  each_member(member(member(member(reply, "result"), "result"), "value"),
              [&](std::string_view name, std::string_view value) {
                std::string kind;
                std::size_t at = 0;
                const std::string quoted = "\"" + std::string(name.substr(0, 64)) + "\"";
                if (const auto many = number_of(value); many && hatch::read_quoted(quoted, at, kind))
                  kinds.add(kind, *many);
                return ++count < max_kinds;
              });
  return kinds.empty() ? std::string{} : kinds.json();
}

}  // namespace stack::node
