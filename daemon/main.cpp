// hatchd: the commands of DESIGN section 5, and the front, which is this program again with another name.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/mask.hpp"
#include "base/rights.hpp"
#include "config/commands.hpp"
#include "config/instance.hpp"
#include "config/start_token.hpp"
#include "config/token.hpp"
#include "front/front.hpp"
#include "link/protocol.hpp"
#include "plugin_new.hpp"
#include "supervisor/check.hpp"
#include "supervisor/plugins.hpp"
#include "supervisor/preflight.hpp"
#include "supervisor/supervisor.hpp"
#include "supervisor/zero.hpp"
#include "targets/targets.hpp"
#include "version.hpp"
#include "worker/exec.hpp"

namespace {

using namespace hatchd;

constexpr const char* default_configuration = "/etc/hatchd/hatchd.json";

// With a unit: as hatchd@.service, in the folders that systemd made for the instance.
std::optional<config::Instance> instance_of(const std::string& unit) {
  if (unit.empty()) return std::nullopt;
  const char* folder = std::getenv("RUNTIME_DIRECTORY");
  const char* runs = std::getenv("STATE_DIRECTORY");
  return config::Instance{unit, folder ? folder : "", runs ? runs : ""};
}

int serve_file(const std::string& file, const std::string& unit) {
  const auto instance = instance_of(unit);
  if (instance && (instance->folder.empty() || instance->runs.empty())) {
    std::fprintf(
        stderr,
        "hatchd: --unit with --config is for hatchd@.service: it takes its folders from RUNTIME_DIRECTORY and "
        "STATE_DIRECTORY\nremedy: systemctl start hatchd@NAME, or hatchd --unit UNIT without a configuration\n");
    return 2;
  }
  const auto load = [file, instance] {
    return instance ? config::load(file, *instance, &targets::check) : config::load(file, &targets::check);
  };
  config::Loaded loaded = load();
  for (const config::Fault& fault : loaded.faults) std::fprintf(stderr, "%s\n", config::to_string(fault).c_str());
  if (!loaded.faults.empty()) {
    std::fprintf(stderr, "hatchd: %zu problem%s, not started\n", loaded.faults.size(),
                 loaded.faults.size() == 1 ? "" : "s");
    return 78;
  }
  const auto token = config::make_start_token(loaded);
  if (!token) {
    std::fprintf(stderr, "hatchd: %s\nremedy: %s\n", token.error().detail.c_str(), token.error().remedy.c_str());
    return 70;
  }
  if (*token) (*token)->add_to(loaded);
  mask::use({{"mask", loaded.config.mask}});
  supervisor::Service service;
  service.config = std::move(loaded.config);
  service.effective = std::move(loaded.effective);
  service.load = [load, token = *token] {
    config::Loaded again = load();
    if (token && again.faults.empty()) token->add_to(again);
    return again;
  };
  service.announce = [](const auto& listeners) {
    for (const auto& listener : listeners)
      log::info("serving", {{"listener", listener.unix_path.empty() ? listener.tcp : listener.unix_path}});
  };
  return supervisor::serve(std::move(service));
}

// As the user of the service: what that cannot read is a fault too.
int check_file(const std::string& file, std::string user) {
  if (user.empty() && file == default_configuration && ::geteuid() == 0) user = supervisor::service_user();
  if (!user.empty()) {
    if (auto done = supervisor::become(user); !done) {
      std::fprintf(stderr, "hatchd: %s\n", done.error().detail.c_str());
      return 2;
    }
    std::fprintf(stderr, "checked as the user %s:\n", user.c_str());
  }
  return config::check_command(file, &targets::check, &supervisor::check_world);
}

// `options` say the process, or nothing: then the configuration counts.
int preflight(supervisor::PreflightOptions options, const std::string& file) {
  const bool zero_configuration = options.zero.pid || !options.zero.name.empty() || !options.zero.unit.empty();
  if (zero_configuration) return supervisor::preflight_command(std::move(options));
  options.file = file;
  options.check_targets = &targets::check;
  options.loaded = config::load(file, &targets::check);
  for (const config::Fault& fault : options.loaded.faults)
    std::fprintf(stderr, "%s\n", config::to_string(fault).c_str());
  if (!options.loaded.faults.empty()) {
    std::fprintf(stderr, "remedy: mend it (hatchd check --config %s), or name a process: hatchd preflight --pid N\n",
                 file.c_str());
    return 78;
  }
  return supervisor::preflight_command(std::move(options));
}

// argv[0] is the title that the supervisor gave: this process is the front.
int serve_front(const char* title) {
  log::start("front");
  link::Channel supervisor{UniqueFd{link::control_fd}};
  link::Message setup;
  if (supervisor.wait(setup, 60'000) != link::Received::message || setup.type != "setup") {
    std::fprintf(stderr, "%s: started by hand; run `hatchd` instead\n", title);
    return link::exit_setup;
  }
  return front::serve(std::move(supervisor), std::move(setup));
}

int commands(int argc, char** argv) {
  CLI::App app{"hatchd opens maintenance hatches into running processes, over HTTP."};
  app.set_version_flag("--version", std::string("hatchd ") + version);
  app.require_subcommand(0, 1);
  app.footer(
      "Exit status: 0 ended in order, 1 failed, 2 usage, 3 not allowed, 69 cannot bind, 70 hatchd's own fault,\n"
      "78 configuration. Documentation: README.md and docs/.");

  std::string file = default_configuration;
  supervisor::ZeroOptions zero;
  int pid = 0;
  const auto serving_options = [&](CLI::App* command) {
    command->add_option("--config", file, "The configuration (default: " + file + ")");
    auto* by_pid =
        command->add_option("--pid", pid, "Serve this process, without a configuration")->check(CLI::PositiveNumber);
    auto* by_name = command->add_option("--name", zero.name, "Serve the process of this name")->excludes(by_pid);
    command->add_option("--unit", zero.unit, "Serve the processes of this systemd unit")
        ->excludes(by_pid)
        ->excludes(by_name);  // with --config: this unit alone, see hatchd@.service
    command->add_flag("--tcp", zero.tcp, "Without a configuration: also listen on loopback, with a token");
    command->add_option("--enable", zero.enable, "Without a configuration: switch on a hatch that disrupts");
  };
  serving_options(&app);
  CLI::App* serve = app.add_subcommand("serve", "Run the daemon (what hatchd does without a command)");
  serving_options(serve);

  worker::ExecOptions exec;
  CLI::App* exec_command = app.add_subcommand("exec", "Run one hatch in the foreground, without a daemon");
  exec_command->add_option("hatch", exec.hatch, "Which hatch, such as stack.dump")->required();
  exec_command->add_option("--pid", exec.pid, "The target")->check(CLI::PositiveNumber);
  exec_command->add_option("parameters", exec.parameters, "key=value …");
  exec_command->add_flag("--json", exec.json, "Print the run as JSON");
  exec_command->add_option("--plugin", exec.plugin, "Try this plugin")->check(CLI::ExistingFile);
  exec_command->add_flag("--in-process", exec.in_process, "Call the hatch in this very process, for a debugger");

  supervisor::PreflightOptions preflighting;
  CLI::App* preflight_command =
      app.add_subcommand("preflight", "Which hatches would work, and what is missing for the others");
  preflight_command->add_option("--config", file, "The configuration (default: " + file + ")");
  auto* of_pid = preflight_command->add_option("--pid", pid, "Of this process, without a configuration")
                     ->check(CLI::PositiveNumber);
  auto* of_name = preflight_command->add_option("--name", zero.name, "Of the process of this name")->excludes(of_pid);
  preflight_command->add_option("--unit", zero.unit, "Of the processes of this systemd unit")
      ->excludes(of_pid)
      ->excludes(of_name);
  preflight_command->add_option("-t,--target", preflighting.target, "Only this target of the configuration");
  preflight_command->add_flag("--json", preflighting.json, "Print JSON");
  preflight_command->add_option("hatches", preflighting.hatches, "Only these");

  std::string plugin_file, as_user;
  CLI::App* check = app.add_subcommand("check", "Validate the configuration, or somebody's plugin");
  check->add_option("--config", file, "The configuration (default: " + file + ")");
  check->add_option("--plugin", plugin_file, "A plugin's shared object");
  check->add_option(
      "--user", as_user,
      "Judge as this user, who has to read it all (for the installed configuration: the User= of the unit)");

  CLI::App* configuration = app.add_subcommand("config", "Ask about the configuration");
  configuration->require_subcommand(1);
  CLI::App* show = configuration->add_subcommand("show", "The effective configuration, secrets masked");
  show->add_option("--config", file, "The configuration (default: " + file + ")");
  CLI::App* schema = configuration->add_subcommand("schema", "The JSON Schema of the configuration");

  std::string token_name, token_role;
  bool install = false;
  CLI::App* token = app.add_subcommand("token", "Tokens for callers over TCP");
  token->require_subcommand(1);
  CLI::App* token_new = token->add_subcommand("new", "Make a token; it is printed once");
  token_new->add_option("name", token_name, "Who it is for")->required();
  token_new->add_option("--role", token_role, "metrics, viewer, operator or admin")->required();
  token_new->add_flag("--install", install, "Write the entry beside the configuration, and a header file for curl");
  token_new->add_option("--config", file, "The configuration (default: " + file + ")");

  std::string plugin_folder;
  CLI::App* plugin = app.add_subcommand("plugin", "Write a plugin");
  plugin->require_subcommand(1);
  CLI::App* plugin_new = plugin->add_subcommand("new", "Make a complete small plugin to start from");
  plugin_new->add_option("folder", plugin_folder, "A new folder")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);  // --help, --version
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return 2;
  }

  if (*exec_command) {
    exec.plugin_directories = supervisor::plugin_directories({});
    return worker::exec_command(exec);
  }
  if (*check) return plugin_file.empty() ? check_file(file, as_user) : worker::check_plugin_command(plugin_file);
  if (*show) return config::show_command(file, &targets::check);
  if (*schema) return config::schema_command();
  if (*token_new) return config::token_new_command(token_name, token_role, install, file);

  if (*plugin_new) return plugin_new_command(plugin_folder);

  if (pid != 0) zero.pid = pid;
  if (*preflight_command) {
    preflighting.zero = std::move(zero);
    return preflight(std::move(preflighting), file);
  }
  const bool configured = app.count("--config") + serve->count("--config") != 0;
  const bool zero_configuration = zero.pid || !zero.name.empty() || (!zero.unit.empty() && !configured);
  if (!zero_configuration && (zero.tcp || !zero.enable.empty())) {
    std::fprintf(stderr,
                 "hatchd: --tcp and --enable go with --pid, --name or --unit; a configuration says it in \"listen\" "
                 "and \"hatches\"\n");
    return 2;
  }
  return zero_configuration ? supervisor::serve_without_configuration(zero) : serve_file(file, zero.unit);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    rights::start_title(argv);
    if (std::strcmp(argv[0], "hatchd: front") == 0) {
      rights::set_title(argv[0]);
      return serve_front(argv[0]);
    }
    log::start("supervisor", std::getenv("HATCHD_LOG") && std::strcmp(std::getenv("HATCHD_LOG"), "debug") == 0
                                 ? log::Level::debug
                                 : log::Level::info);
    return commands(argc, argv);
  } catch (const std::exception& error) {
    log::error("hatchd met its own bug", {{"what", error.what()}});
    return link::exit_bug;
  }
}
