#include "client/speech.hpp"

#include <string>

#include "catch.hpp"

using hatchd::client::in_commands;
using hatchd::client::with_commands;

TEST_CASE("requests become the commands that do the same") {
  const auto [request, command] = GENERATE(table<std::string, std::string>({
      {"GET /v1/hatches/stack.dump describes the parameters", "hatchctl describe stack.dump describes the parameters"},
      {"GET /v1/hatches lists what there is", "hatchctl hatches lists what there is"},
      {"look at the last of its runs: GET /v1/runs?state=crashed&hatch=app.x",
       "look at the last of its runs: hatchctl runs --state crashed --hatch app.x"},
      {"see GET /v1/runs/01J, or GET /v1/targets/web; or wait",
       "see hatchctl show 01J, or hatchctl targets web; or wait"},
      {"curl --unix-socket /run/hatchd/hatchd.sock h/stack.dump -d target=web", "hatchctl run stack.dump -t web"},
      {"curl -H @token.header https://h.example:4283/mail.send -d to=a@b.example -d msg='two words'",
       "hatchctl run mail.send to=a@b.example msg='two words'"},
      {"curl --unix-socket /run/x.sock h/stack.dump -X POST", "hatchctl run stack.dump"},
      {"use the Unix socket (curl --unix-socket /run/x.sock ...) or present a token as \"Authorization: Bearer "
       "hatchd_...\" (make one: hatchd token new NAME --role viewer)",
       "use the Unix socket (hatchctl --socket /run/x.sock ...) or give a token with --token-file FILE (make one: "
       "hatchd token new NAME --role viewer)"},
      {"add -d reason='why' or the header Hatchd-Reason", "add --reason 'why'"},
  }));
  CHECK(in_commands(request) == command);
}

TEST_CASE("what is no request, or one without a command, stays as it is") {
  for (const char* text :
       {"", " ", "GET", "curl", "GET off my lawn", "GET /v1/runs/01J/artifacts/core", "GET /v1/runs?limit", "it's done",
        "did you mean target=web?", "GET / lists what there is", "systemd: AmbientCapabilities=CAP_SYS_PTRACE",
        "call hatchd from its own pages, curl or hatchctl", "  two  blanks  "})
    CHECK(in_commands(text) == text);
}

TEST_CASE("only remedies and curl lines of a text are touched") {
  CHECK(with_commands(
            "refused (params-invalid): GET /v1/hatches/x\nremedy: GET /v1/hatches/x says\n\nRUN\n  curl --unix-socket "
            "/s h/x -X POST\n") ==
        "refused (params-invalid): GET /v1/hatches/x\nremedy: hatchctl describe x says\n\nRUN\n  hatchctl run x\n");
  CHECK(with_commands("no end") == "no end");
}
