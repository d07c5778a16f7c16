// hatchctl: the client of hatchd. The command line, and nothing else.
#include <CLI/CLI.hpp>

#include "client/commands.hpp"

using namespace hatchd::client;

namespace {

constexpr const char* footer =
    R"(Parameters: key=value; key=@file takes the content of a file (@- standard input), key=@@text a text that begins with @.

Where the daemon is: --socket or --url, else HATCHD_SOCKET or HATCHD_URL (with HATCHD_TOKEN_FILE), else /run/hatchd/hatchd.sock,
$XDG_RUNTIME_DIR/hatchd/hatchd.sock, or the one hatchd --pid that runs.

Exit status:
  0  succeeded (a run that goes on in the background, too); with --dry-run: it would work
  1  failed: the hatch did not succeed, its target is gone or ambiguous, the daemon is busy or broken
  2  usage: wrong options or parameters, an unknown hatch, target or run; a disrupt hatch that nobody confirmed
  3  not allowed
  4  cannot connect)";

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Opens maintenance hatches through hatchd.", "hatchctl"};
  app.footer(footer);
  app.require_subcommand(1);
  app.fallthrough();

  Places places = places_of_environment();
  Options options;
  app.add_option("-t,--target", options.target, "The target, where there are several")->type_name("TARGET");
  app.add_flag("--json", options.json, "Print JSON");
  app.add_flag("--dry-run", options.dry_run, "run: say whether it would work, and do nothing");
  app.add_option("--reason", options.reason, "run: why; kept with the run")->type_name("TEXT");
  app.add_flag("-y,--yes", options.yes, "run: do not ask about a disrupt hatch");
  app.add_option("--socket", places.socket, "Unix socket of the daemon")->type_name("PATH");
  app.add_option("--url", places.url, "Address of the daemon, such as http://127.0.0.1:4282")->type_name("URL");
  app.add_option("--token-file", places.token_file, "File with the line \"Authorization: Bearer TOKEN\"")
      ->type_name("FILE");

  std::string id, target, run_id;
  std::vector<std::string> params;
  RunFilter filter;
  std::function<int(const Client&)> chosen;
  const auto command = [&](const char* name, const char* help, std::function<int(const Client&)> action) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&chosen, action = std::move(action)] { chosen = action; });
    return sub;
  };
  command("hatches", "What can be done here", hatches);
  command("describe", "All about one hatch", [&](const Client& c) { return describe(c, id); })
      ->add_option("id", id, "group.verb")
      ->required();
  CLI::App* run_command = command("run", "Run a hatch", [&](const Client& c) { return run(c, id, params); });
  run_command->add_option("id", id, "group.verb")->required();
  run_command->add_option("params", params, "key=value or key=@file")->type_name("key=value");
  command("targets", "What hatchd sits beside", [&](const Client& c) {
    return targets(c, target);
  })->add_option("name", target, "One of them");
  CLI::App* runs_command =
      command("runs", "Past and present runs, newest first", [&](const Client& c) { return runs(c, filter); });
  runs_command->add_option("--hatch", filter.hatch, "Only runs of this hatch")->type_name("ID");
  runs_command->add_option("--state", filter.state, "Only runs in this state")->type_name("STATE");
  runs_command->add_option("--limit", filter.limit, "At most so many")->type_name("N");
  runs_command->add_option("--after", filter.after, "Only older ones than this run")->type_name("RUN");
  command("show", "One run", [&](const Client& c) { return show(c, run_id); })
      ->add_option("run", run_id, "Its id")
      ->required();
  command("cancel", "Cancel a run", [&](const Client& c) { return cancel(c, run_id); })
      ->add_option("run", run_id, "Its id")
      ->required();
  command("health", "Is the daemon ready?", health);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? succeeded : usage;
  }
  const Screen screen = Screen::of_process();
  const hatchd::Result<Endpoint> endpoint = find_endpoint(places);
  if (!endpoint) return report(endpoint.error(), options, screen);
  return chosen({*endpoint, options, screen});
}
