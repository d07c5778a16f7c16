#include "mail/errand.hpp"

#include <unistd.h>

#include <boost/json.hpp>

#include "hatch/network.hpp"
#include "mail/address.hpp"
#include "mail/environment.hpp"
#include "mail/message.hpp"

namespace mail {
namespace {

constexpr std::size_t max_file = 1024 * 1024, max_recipients = 20;

hatch::Failure refusal(const std::string& detail, std::string remedy) {
  hatch::Failure failure(detail);
  failure.remedy = std::move(remedy);
  return failure;
}

// The main process's place among those of the run.
std::uint32_t main_process(const std::vector<hatch_process>& processes) {
  for (std::uint32_t i = 0; i < processes.size(); ++i)
    if (processes[i].main) return i;
  return 0;
}

// The content of one of the target's files; a negative errno where it is not to be had.
int read_target_file(const hatch::Run& run, std::uint32_t process, std::uint32_t file, std::string& content) {
  const int fd = run.target_file(process, file);
  if (fd < 0) return fd;
  char buffer[16384];
  for (ssize_t n; content.size() < max_file && (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    content.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  return 0;
}

// The app's own settings where it shows them, else the environment that it was started with.
void use_settings_of(const hatch::Run& run, std::uint32_t process, Prepared& prepared) {
  prepared.vantage.from = "target";
  std::string environ;
  const int error = read_target_file(run, process, HATCH_FILE_ENVIRONMENT, environ);
  const Environment environment = parse_environment(environ);
  const app::AppSettings app = app::ask_for_settings(run);
  if (!app.why.empty())
    prepared.warnings.push_back("the app's own settings are not to be had: " + hatch::printable(app.why) +
                                "; what it was started with is used");
  if (const auto backend = app.values.find("EMAIL_BACKEND");
      backend != app.values.end() && backend->second.find("smtp") == std::string::npos)
    prepared.warnings.push_back("the app itself does not send by SMTP: its EMAIL_BACKEND is " +
                                bounded(hatch::printable(backend->second), 200));
  if (use_app_settings(prepared.settings, app, environment)) return;
  if (error < 0)
    throw hatch::Failure::rights(
        "the target's environment may not be read", {"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or the target's user"},
        "systemd: AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH in hatchd's unit, or User= the "
        "target's user");
  use_environment(prepared.settings, environment);
}

// Names as the target sees them: in its network, hatchd's name servers may not even be reached.
void use_resolver_of(const hatch::Run& run, std::uint32_t process, Prepared& prepared) {
  ResolverFiles files;
  const int no_hosts = read_target_file(run, process, HATCH_FILE_HOSTS, files.hosts);
  const int no_servers = read_target_file(run, process, HATCH_FILE_RESOLV_CONF, files.resolv_conf);
  if (no_servers < 0) {
    prepared.warnings.emplace_back("the target's resolv.conf cannot be read; names are looked up as hatchd does");
    files.resolv_conf = prepared.files.resolv_conf;
  } else {
    prepared.vantage.resolver = "target";
  }
  if (no_hosts < 0) files.hosts = prepared.files.hosts;
  prepared.files = std::move(files);
}

std::string list_of(const std::vector<std::string>& all) {
  std::string text;
  for (const std::string& one : all) (text += text.empty() ? "" : ", ") += one;
  return text;
}

std::vector<std::string> recipients_of(const Wish& wish, const Settings& settings) {
  std::vector<std::string> to = wish.to;
  if (to.empty())
    for (const std::string& pattern : settings.to)
      if (to.empty() && !pattern.starts_with("*@")) to.push_back(pattern);
  if (to.empty())
    throw refusal("no recipient is named, and the profile has no whole address in \"to\"",
                  "name one that fits " + list_of(settings.to));
  if (to.size() > max_recipients)
    throw refusal(std::to_string(to.size()) + " recipients are too many for a test", "name at most 20");
  for (std::string& address : to) {
    if (const std::string why = why_no_address(address); !why.empty())
      throw refusal("\"" + bounded(hatch::printable(address), 100) + "\" " + why, "name a plain address");
    if (address.starts_with("*@")) throw refusal(address + " is a pattern, not a recipient", "name a plain address");
    if (!is_allowed(address, settings.to))
      throw refusal(address + " is not among those that this profile may send to: " + list_of(settings.to),
                    "add it to \"to\" of the profile below plugins.mail.profiles");
  }
  return to;
}

void check_sender(const Settings& settings) {
  const std::string sender = bare_address(settings.sender);
  if (const std::string why = why_no_address(sender); !why.empty())
    throw refusal("the sender \"" + bounded(hatch::printable(sender), 100) + "\" " + why, "name a plain address");
  if (!is_allowed(sender, settings.senders))
    throw refusal(sender + " is not among those that this profile may send as: " + list_of(settings.senders),
                  "add it to \"senders\" of the profile below plugins.mail.profiles");
}

// "alice (unix)"
std::string caller_text(std::string_view json_text) {
  boost::system::error_code error;
  const boost::json::value caller = boost::json::parse(json_text, error);
  const auto member = [&](const char* name) {
    const boost::json::object* object = error ? nullptr : caller.if_object();
    const boost::json::value* value = object ? object->if_contains(name) : nullptr;
    return value && value->is_string() ? std::string(value->get_string()) : std::string{};
  };
  const std::string name = member("name"), via = member("via");
  return bounded(
      hatch::printable(name.empty() ? "somebody" : name) + (via.empty() ? "" : " (" + hatch::printable(via) + ")"),
      200);
}

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return hatch::printable(name);
}

}  // namespace

Prepared prepare_errand(const hatch::Run& run, const Wish& wish) {
  try {
    // First of all: the right to do so is gone afterwards, and what follows reads what others wrote.
    const hatch::Network network = hatch::use_network(run, wish.network == "target", "mail");
    Prepared prepared;
    prepared.settings = settings_of(run.profile());
    prepared.files = own_resolver_files();
    const std::vector<hatch_process> processes = run.processes();
    if (wish.from == "target") {
      if (processes.empty()) throw refusal("from=target needs a target", "name one: target=NAME");
      use_settings_of(run, main_process(processes), prepared);
      if (network == hatch::Network::other)
        prepared.warnings.emplace_back(
            "the target is in another network namespace: what works from hatchd's may not work from the target's");
    }
    if (wish.from == "target" || network == hatch::Network::target)
      use_resolver_of(run, main_process(processes), prepared);
    if (wish.network == "target") prepared.vantage.network = "target";
    prepared.files.servers = prepared.settings.dns;
    if (!wish.sender.empty()) {
      prepared.settings.sender = wish.sender;
      prepared.settings.origins["from"] = "parameter";
    }
    check_sender(prepared.settings);
    prepared.errand.send = wish.send;
    prepared.errand.sender = bare_address(prepared.settings.sender);
    prepared.errand.to = recipients_of(wish, prepared.settings);

    Message message;
    message.run_id = run.id();
    message.asked_by = caller_text(run.caller());
    message.from = prepared.settings.sender;
    message.to = prepared.errand.to;
    message.subject = wish.subject;
    message.text = wish.text;
    message.target = hatch::printable(run.target_name());
    message.host = host_name();
    message.now = std::time(nullptr);
    prepared.errand.message = compose(message);
    return prepared;
  } catch (const Unusable& unusable) {
    throw refusal(unusable.what(), unusable.remedy);
  }
}

}  // namespace mail
