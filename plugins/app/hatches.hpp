// What the two hatches say of themselves.
//
// app.hatches is listed as any other. app.call is never listed: it stands for the hatches that the processes of a target
// have just now (requirement "members/1", docs/writing-a-hatch.md). hatchd asks it for them by a dry run without member,
// lists each as app.NAME, and runs it with the member's name and arguments.
#pragma once

#include <string>

#include "hatch/hatch.hpp"

namespace app {

struct Hatches {
  static constexpr hatch::About about{
      .id = "app.hatches",
      .title = "Show which processes of the target have opened hatches",
      .documentation =
          "Looks for the socket of each process of the target, asks it for its hatches within 200 ms, and says where "
          "it "
          "looked, who answered, and why another did not. The hatches themselves are listed as app.NAME.\n\n"
          "An app opens hatches with a few lines: docs/hatchkit.md.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::required,
      .flags = HATCH_ENVIRONMENT,
      .timeout = std::chrono::seconds{10},
      .capabilities = {"sys_ptrace", "dac_read_search"},
  };
  hatch::Result run(hatch::Run& run);
};

struct Call {
  static constexpr hatch::About about{
      .id = "app.call",
      .title = "Run a hatch inside the app",
      .documentation = "Stands for the hatches that the processes of a target have opened; each is listed as app.NAME.",
      .effect = hatch::Effect::act,
      .target = hatch::Target::required,
      .flags = HATCH_ENVIRONMENT | HATCH_TARGET_LOG,
      .timeout = std::chrono::minutes{10},
      .capabilities = {"sys_ptrace", "dac_read_search"},
      .requirements = {"members/1"},
  };

  std::string member, arguments = "{}", workers = "one", effect = "act";
  bool named = false, texts = false;

  void params(auto& p) {
    p.optional("member", member, "Name of the hatch in the app").length(0, 60);
    p.optional("arguments", arguments, "Its parameters: a JSON object").length(0, 1048576);
    p.optional("workers", workers, "In one process, or in each that has it").one_of({"one", "all"});
    p.optional("effect", effect, "The effect that the caller was allowed").one_of({"observe", "act", "disrupt"});
    p.optional("texts", texts, "The arguments are texts, to be converted as the app describes them");
    p.optional("named", named, "Does the configuration enable this very hatch?");
  }
  hatch::Result run(hatch::Run& run);
  hatch::Result preflight(hatch::Run& run);  // without member: which there are
};

}  // namespace app
