#include "queue/frame/settings.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

namespace json = boost::json;

namespace queue {
namespace {

constexpr std::size_t max_environment = 1024 * 1024;

std::string read_descriptor(int fd) {
  std::string text;
  char buffer[16 * 1024];
  for (ssize_t n; text.size() < max_environment && (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

// `needed`: nothing else tells the addresses.
std::vector<std::pair<std::string, Setting>> environment_of(const hatch::Run& run, bool needed) {
  const std::vector<hatch_process> processes = run.processes();
  std::vector<std::pair<std::string, Setting>> all;
  int error = 0;
  bool any = false;
  for (std::uint32_t i = 0; i < processes.size(); ++i) {
    const int fd = run.target_file(i, HATCH_FILE_ENVIRONMENT);
    if (fd < 0) {
      error = fd;
      continue;
    }
    any = true;
    const std::string text = read_descriptor(fd);
    ::close(fd);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\0', at), text.size());
      const std::string_view entry = std::string_view(text).substr(at, end - at);
      if (const std::size_t sign = entry.find('='); sign != entry.npos)
        all.emplace_back(entry.substr(0, sign), Setting{std::string(entry.substr(sign + 1)),
                                                        std::string(entry.substr(0, sign)) + " of process " +
                                                            std::to_string(processes[i].pid)});
      at = end + 1;
    }
  }
  if (!any && needed)
    throw hatch::Failure::rights("the target's environment may not be read: " + reason(-error),
                                 {"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or the target's user"},
                                 "systemd: AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH in hatchd's unit, or "
                                 "User= the target's user; or use from=profile");
  return all;
}

}  // namespace

Settings::Settings(hatch::Run& run, const Source& source)
    : network_(hatch::use_network(run, source.network == "target", "queue")),
      name_(source.profile),
      from_target_(source.from == "target") {
  json::error_code error;
  json::value profile = json::parse(json::string_view(run.profile()), error);
  if (!error && profile.is_object()) profile_ = std::move(profile.get_object());
  if (!from_target_) return;
  if (run.processes().empty()) throw hatch::Failure("from=target takes a target: name one with target=NAME");
  app_ = app::ask_for_settings(run);
  environment_ = environment_of(run, app_.pid == 0);
}

Setting Settings::address(std::string_view key, std::initializer_list<const char*> variables) const {
  if (from_target_) {
    for (const char* variable : variables)
      if (Setting found = of_app(key, variable); !found.text.empty()) return found;
    for (const char* variable : variables)
      if (const Setting* found = of_environment(variable)) return *found;
    return {};
  }
  return {text(key), "profile" + (name_.empty() ? "" : " " + name_)};
}

const Setting* Settings::of_environment(std::string_view variable) const {
  for (const auto& [name, setting] : environment_)
    if (name == variable && !setting.text.empty()) return &setting;
  return nullptr;
}

Setting Settings::of_app(std::string_view key, const char* variable) const {
  const auto shown = app_.values.find(variable);
  if (shown == app_.values.end() || shown->second.empty()) return {};
  if (!app::is_masked(shown->second)) return {shown->second, app_.origin(variable)};
  // Its password is not shown: whose address is the same but for that, is it.
  if (const Setting* started = of_environment(variable); started && app::fits_masked(started->text, shown->second))
    return *started;
  if (const std::string own = text(key); app::fits_masked(own, shown->second))
    return {own, "profile, which fits " + app_.origin(variable)};
  throw Trouble("the app's setting " + std::string(variable) + " is " + shown->second +
                    ": it shows no password, and nothing else has it",
                "start the target with the environment variable " + std::string(variable) +
                    ", or write the address into \"" + std::string(key) + "\" of the profile");
}

std::string Settings::text(std::string_view key, std::string_view fallback) const {
  const json::value* value = profile_.if_contains(key);
  return value && value->is_string() && !value->get_string().empty() ? std::string(value->get_string())
                                                                     : std::string(fallback);
}

std::vector<std::string> Settings::texts(std::string_view key) const {
  std::vector<std::string> list;
  if (const json::value* value = profile_.if_contains(key); value && value->is_array())
    for (const json::value& entry : value->get_array())
      if (entry.is_string()) list.emplace_back(entry.get_string());
  return list;
}

std::chrono::milliseconds Settings::duration(std::string_view key, std::chrono::milliseconds fallback) const {
  const std::string written = text(key);
  long long number = 0;
  const auto [unit, error] = std::from_chars(written.data(), written.data() + written.size(), number);
  if (error != std::errc()) return fallback;
  const std::string_view rest(unit, static_cast<std::size_t>(written.data() + written.size() - unit));
  const long long factor = rest == "ms" ? 1 : rest == "s" ? 1000 : rest == "m" || rest == "min" ? 60'000 : 0;
  if (factor == 0 || number < 1 || number > 3'600'000) return fallback;
  return std::chrono::milliseconds{number * factor};
}

Tls Settings::tls() const {
  Tls tls;
  tls.ca = text("ca");
  tls.certificate = text("certificate");
  tls.key = text("key");
  if (const json::value* verify = profile_.if_contains("verify")) tls.verify = !verify->is_bool() || verify->get_bool();
  return tls;
}

void Settings::allow(std::string_view what, const std::string& name, std::string_view own, std::string_view key) const {
  if (name == own) return;
  const std::vector<std::string> list = texts(key);
  if (std::find(list.begin(), list.end(), name) != list.end()) return;
  hatch::Failure refused("the profile does not allow the " + std::string(what) + " " + name);
  refused.remedy = "add it to \"" + std::string(key) + "\" of the profile";
  throw refused;
}

std::string profile_schema(std::string_view kind, std::string_view own) {
  std::string text = R"({"type": "object", "additionalProperties": false, "required": ["kind"], "properties": {)";
  text += R"("kind": {"type": "string", "enum": [")" + std::string(kind) + R"("]},)";
  text += own;
  return text + R"(,
"ca": {"type": "string", "format": "absolute-path", "description": "PEM file of the authorities that TLS trusts; the system's without it."},
"certificate": {"type": "string", "format": "absolute-path", "description": "PEM file of a client certificate."},
"key": {"type": "string", "format": "absolute-path", "description": "PEM file of its key."},
"verify": {"type": "boolean", "default": true, "description": "Check the server's certificate."},
"timeout": {"type": "string", "format": "duration", "default": "5s", "description": "How long each part may take: connecting, and waiting for the answer."}
}})";
}

}  // namespace queue
