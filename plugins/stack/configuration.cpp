#include "stack/configuration.hpp"

#include "hatch/json.hpp"
#include "stack/node/json.hpp"

namespace stack {

// The pattern lets through what go::is_pprof_address() does, and addresses whose numbers are too large.
const char configuration_schema[] = R"json({
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "pprof": {
      "type": "object",
      "description": "Targets that are Go programs, each with the address of its net/http/pprof: stack.dump asks there first. The process must listen on that port itself.",
      "additionalProperties": {
        "type": "string",
        "pattern": "http://(localhost|[0-9]{1,3}([.][0-9]{1,3}){3}|\\[[0-9a-fA-F:.]+\\]):[1-9][0-9]{0,4}(/[a-zA-Z0-9/._~%-]*)?",
        "examples": ["http://127.0.0.1:6060/debug/pprof"]
      }
    }
  }
})json";

std::string pprof_of(std::string_view configuration, std::string_view target) {
  std::string found;
  node::each_member(node::member(configuration, "pprof"), [&](std::string_view name, std::string_view value) {
    std::string read;
    std::size_t at = 0;
    const std::string quoted = '"' + std::string(name) + '"';
    if (hatch::read_quoted(quoted, at, read) && read == target) found = node::text_of(value);
    return found.empty();
  });
  return found;
}

}  // namespace stack
