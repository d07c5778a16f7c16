// hatchctl: the client of hatchd. The command line, and nothing else.
#include <CLI/CLI.hpp>
#include <map>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cstdio>

#include "base/json.hpp"
#include "client/commands.hpp"
#include "client/complete.hpp"
#include "client/preflight.hpp"
#include "client/watch.hpp"

using namespace hatchd::client;

namespace {

constexpr const char* footer =
    R"(Parameters: key=value; key=@file takes the content of a file (@- standard input), key=@@text a text that begins with @.

Where the daemon is: --socket or --url, else HATCHD_SOCKET or HATCHD_URL (with HATCHD_TOKEN_FILE), else /run/hatchd/hatchd.sock,
$XDG_RUNTIME_DIR/hatchd/hatchd.sock, or the one hatchd --pid that runs.

Exit status:
  0  succeeded (a run that goes on in the background, too); preflight, --dry-run: nothing is in the way
  1  failed: the hatch did not succeed or was cancelled, its target is gone or ambiguous, the daemon is busy or broken
  2  usage: wrong options or parameters, an unknown hatch, target or run; a disrupt hatch that nobody confirmed
  3  not allowed: you by hatchd, or hatchd by the system (rights-missing)
  4  cannot connect)";

// What the parser knows, for completions.
std::vector<Grammar::Option> options_of(const CLI::App& app) {
  std::vector<Grammar::Option> options;
  for (const CLI::Option* option : app.get_options()) {
    Grammar::Option known{{}, option->get_description(), option->get_items_expected_max() > 0};
    for (const std::string& name : option->get_snames()) known.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) known.names.push_back("--" + name);
    if (!known.names.empty()) options.push_back(std::move(known));
  }
  return options;
}

Grammar grammar_of(const CLI::App& app) {
  Grammar grammar{options_of(app), {}};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    grammar.commands.push_back({command->get_name(), command->get_description(), options_of(*command)});
  return grammar;
}

// Says what could stand at the end of `words`. Never fails: a shell that completes shows no errors.
int print_completions(CLI::App& app, const Places& places, const std::vector<std::string>& words) {
  const Grammar grammar = grammar_of(app);
  app.require_subcommand(0);
  app.allow_extras();
  // The options that say where the daemon is, as far as they are typed: without the word that is being typed, and without
  // an option in front of it that waits for just this word.
  for (std::size_t left = 1; left <= std::min<std::size_t>(2, words.size()); ++left) {
    try {
      app.parse(std::vector<std::string>(words.rbegin() + static_cast<std::ptrdiff_t>(left), words.rend()));
      break;
    } catch (const CLI::ArgumentMismatch&) {
      continue;
    } catch (const CLI::Error&) {  // an unfinished line is no wonder
      break;
    }
  }
  const auto fetch = [&](const std::string& path) -> boost::json::value {
    const auto endpoint = find_endpoint(places);
    if (!endpoint) return nullptr;
    Call call{"GET", path, {}, true};
    call.limit = std::chrono::seconds(3);
    const auto answer = exchange(*endpoint, call);
    if (!answer || answer->status != 200) return nullptr;
    return hatchd::parse_json(answer->body).value_or(nullptr);
  };
  print(lines_of(complete(grammar, words, fetch)));
  return succeeded;
}

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
  app.add_flag("-w,--watch", options.watch, "targets, runs, show: again and again; a run until it has ended");
  app.add_option("--every", options.every, "--watch: how often")->type_name("SECONDS")->check(CLI::Range(1u, 3600u));
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
  std::vector<std::string> wanted;
  command("preflight", "Which hatches would work, and what is missing for the others", [&](const Client& c) {
    return preflight(c, wanted);
  })->add_option("hatches", wanted, "Only these");
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
  command("follow", "What a run says, until it has ended", [&](const Client& c) { return follow(c, run_id); })
      ->add_option("run", run_id, "Its id")
      ->required();
  command("cancel", "Cancel a run", [&](const Client& c) { return cancel(c, run_id); })
      ->add_option("run", run_id, "Its id")
      ->required();
  command("console", "Talk to the target through an interactive hatch", [&](const Client& c) { return console(c, id); })
      ->add_option("id", id, "group.verb")
      ->required();
  std::map<std::string, std::string> audit_filter;  // by the names of the route's query
  CLI::App* audit_command =
      command("audit", "Who did what, newest first", [&](const Client& c) { return audit(c, audit_filter); });
  for (const auto& [name, help] :
       {std::pair{"event", "Only begin, end, cancel, …; refused: who was not let"},
        std::pair{"run", "Only lines about this run"}, std::pair{"hatch", "Only lines about this hatch"},
        std::pair{"caller", "Only what this user or token did"}, std::pair{"outcome", "Only ends in this state"},
        std::pair{"since", "From this time on, such as 2026-11-23T14:40"}, std::pair{"until", "Before this time"},
        std::pair{"limit", "At most so many"}, std::pair{"after", "Only older ones than this line"}})
    audit_command->add_option("--" + std::string(name), audit_filter[name], help);
  command("health", "Is the daemon ready?", health);
  std::string shell;
  CLI::App* completion_command = app.add_subcommand("completion", "A script that teaches your shell to complete");
  completion_command->add_option("shell", shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));

  if (argc > 1 && std::string_view(argv[1]) == "__complete")
    return print_completions(app, places, {argv + 2, argv + argc});

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? succeeded : usage;
  }
  const Screen screen = Screen::of_process();
  if (completion_command->parsed()) return print(completion_script(shell)) ? succeeded : failed;
  const hatchd::Result<Endpoint> endpoint = find_endpoint(places);
  if (!endpoint) return report(endpoint.error(), options, screen);
  const Client client{*endpoint, options, screen};
  if (!options.watch) return chosen(client);
  const std::string command_name = app.get_subcommands().front()->get_name();
  if (command_name != "targets" && command_name != "runs" && command_name != "show")
    return report({"usage", "--watch is for targets, runs and show", {}, "a run that goes on: hatchctl follow RUN"},
                  options, screen);
  return watch(client, chosen, run_id);
}
