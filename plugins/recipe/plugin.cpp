// The three kinds of recipes. None of these hatches is offered by itself: each entry of `hatches` with a `kind` is made
// from one of them, with its own id, words, parameters and effect (supervisor/recipes.cpp).
#include "hatch/hatch.hpp"
#include "recipe/recipe.hpp"

namespace {

struct Http {
  static constexpr hatch::About about{
      .id = "recipe.http",
      .title = "Send a request to the app",
      .documentation = "Sends the request of the configuration and compares what comes of it with what it expects.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::optional,
      .flags = HATCH_TARGET_LOG,
  };
  hatch::Result run(hatch::Run& run) { return recipe::run_http(run); }
  hatch::Result preflight(hatch::Run& run) { return recipe::try_http(run); }
};

struct Signal {
  static constexpr hatch::About about{
      .id = "recipe.signal",
      .title = "Send a signal to the app",
      .documentation =
          "Sends the signal of the configuration to the target's main process, where it has a meaning there.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::required,
      .flags = HATCH_TARGET_LOG,
      .capabilities = {"kill"},
  };
  hatch::Result run(hatch::Run& run) { return recipe::run_signal(run); }
  hatch::Result preflight(hatch::Run& run) { return recipe::try_signal(run); }
};

struct Command {
  static constexpr hatch::About about{
      .id = "recipe.command",
      .title = "Run a program",
      .documentation = "Runs the program of the configuration, without a shell, and streams what it says.",
      .effect = hatch::Effect::observe,
      .target = hatch::Target::optional,
      .capabilities = {"setuid", "setgid", "kill"},  // granted only where the configuration asks for the first two
  };
  hatch::Result run(hatch::Run& run) { return recipe::run_command(run); }
  hatch::Result preflight(hatch::Run& run) { return recipe::try_command(run); }
};

}  // namespace

HATCH_PLUGIN("recipe", "1.0.0", "Hatches that are written in the configuration", Http, Signal, Command)
