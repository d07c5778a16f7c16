// What preflight found, as the few lines that a unit, a pod or a prompt takes.
#include <pwd.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "client/preflight.hpp"

namespace hatchd::client {

namespace {

// What the entries of `missing` ask for (hatch/access.hpp says how they are written).
struct Wants {
  std::set<std::string> capabilities;
  std::optional<std::string> user, group;  // ids that would do instead of the capabilities, for all alike
  bool namespaces = false;
  int yama = 0;         // entries that have it as their alternative
  bool reboot = false;  // Yama forbids it to everybody
};

constexpr std::string_view of_namespace = "user namespace";
constexpr std::string_view user_id = "the user id ", group_id = "the group id ", yama = "kernel.yama.ptrace_scope";

std::vector<std::string> capabilities_in(std::string_view text) {
  std::vector<std::string> found;
  for (std::size_t at = text.find("CAP_"); at != text.npos; at = text.find("CAP_", at + 4)) {
    std::size_t end = at;
    while (end < text.size() && ((text[end] >= 'A' && text[end] <= 'Z') || text[end] == '_')) ++end;
    found.emplace_back(text.substr(at, end - at));
  }
  return found;
}

// The digits behind `label`, or nothing.
std::optional<std::string> id_behind(std::string_view text, std::string_view label) {
  const std::size_t at = text.find(label);
  if (at == text.npos) return std::nullopt;
  const std::size_t begin = at + label.size(), end = text.find_first_not_of("0123456789", begin);
  const std::string_view digits = text.substr(begin, end == text.npos ? end : end - begin);
  if (digits.empty() || digits.size() > 10) return std::nullopt;  // ids have 32 bits
  return std::string(digits);
}

Wants wants_of(const std::vector<Finding>& findings) {
  Wants wants;
  bool first = true, alike = true;
  for (const Finding& finding : findings) {
    if (finding.is != Finding::Is::not_ready) continue;
    for (const std::string& entry : finding.missing) {
      const std::size_t comma = std::min(entry.find(", or "), entry.size());
      const std::string_view need = std::string_view(entry).substr(0, comma);
      const std::string_view instead = std::string_view(entry).substr(comma);
      wants.namespaces = wants.namespaces || need.find(of_namespace) != need.npos;
      wants.reboot = wants.reboot || need.starts_with(yama);
      const std::vector<std::string> capabilities = capabilities_in(need);
      if (capabilities.empty()) continue;
      wants.capabilities.insert(capabilities.begin(), capabilities.end());
      // What the hatch declares is what it makes use of: asked for once, and not one by one after each other. What is
      // nearly root is nobody's to be advised in passing.
      for (const std::string& name : finding.capabilities)
        if (name != "CAP_SETUID" && name != "CAP_SETGID" && name != "CAP_SYS_ADMIN") wants.capabilities.insert(name);
      wants.yama += instead.find(yama) != instead.npos ? 1 : 0;
      const auto user = id_behind(instead, user_id), group = id_behind(instead, group_id);
      alike = alike && (user || group) && (first || (user == wants.user && group == wants.group));
      wants.user = user;
      wants.group = group;
      first = false;
    }
  }
  if (!alike) wants.user = wants.group = std::nullopt;
  return wants;
}

std::string joined(const std::set<std::string>& words, std::string_view between, std::size_t skip = 0) {
  std::string text;
  for (const std::string& word : words) ((text += text.empty() ? "" : between)) += word.substr(skip);
  return text;
}

// For a unit: the name, which says more than the number.
std::string name_of(const std::string& uid) {
  const passwd* entry = ::getpwuid(static_cast<uid_t>(std::stoull(uid)));
  return entry != nullptr ? entry->pw_name : uid;
}

}  // namespace

Advice advice_on(const std::vector<Finding>& findings) {
  const Wants wants = wants_of(findings);
  Advice advice;
  if (!wants.capabilities.empty()) {
    const std::string names = joined(wants.capabilities, " ");
    advice.systemd = "[Service]\nAmbientCapabilities=" + names + "\nCapabilityBoundingSet=" + names + "\n";
    advice.kubernetes =
        "shareProcessNamespace: true\ncontainers:\n  - name: hatchd\n    securityContext:\n"
        "      runAsUser: 0  # added capabilities are in effect for user 0 alone\n      capabilities:\n        add: [" +
        joined(wants.capabilities, ", ", 4) + "]\n";
    if (wants.user || wants.group) {
      advice.systemd += "# Or, instead of capabilities, who the target is (/usr/share/hatchd/rights/same-user.conf):\n";
      if (wants.user) advice.systemd += "# User=" + name_of(*wants.user) + "\n";
      if (wants.group) advice.systemd += "# Group=" + *wants.group + "\n";
      advice.kubernetes += "      # Or, instead of user 0 and capabilities, who the target is:\n";
      if (wants.user) advice.kubernetes += "      # runAsUser: " + *wants.user + "\n";
      if (wants.group) advice.kubernetes += "      # runAsGroup: " + *wants.group + "\n";
    }
    if (wants.yama > 0)
      advice.kernel = "sudo sysctl -w kernel.yama.ptrace_scope=0  # instead of a capability, for all of this host\n";
    // A daemon that was started by hand says the command first (runs/runner.cpp).
    for (const Finding& finding : findings)
      if (const std::size_t end = finding.remedy.find("; as a service: ");
          advice.prompt.empty() && finding.remedy.starts_with("sudo ") && end != std::string::npos)
        advice.prompt = finding.remedy.substr(0, end) + "\n";
  }
  if (wants.namespaces) {
    advice.systemd += advice.systemd.empty() ? "[Service]\n" : "";
    advice.systemd += "PrivateUsers=no\n";
    advice.kubernetes +=
        "# hatchd's container in the pod of the target: a user namespace (hostUsers: false) is the pod's\n";
  }
  if (wants.reboot)
    advice.kernel =
        "echo kernel.yama.ptrace_scope=1 | sudo tee /etc/sysctl.d/90-ptrace.conf  # then reboot: 3 stays until then\n";
  return advice;
}

bool is_advised(const Finding& finding) {
  return !finding.missing.empty() &&
         std::all_of(finding.missing.begin(), finding.missing.end(), [](const std::string& entry) {
           return !capabilities_in(entry).empty() || entry.starts_with(yama) || entry.find(of_namespace) != entry.npos;
         });
}

int exit_of(const std::vector<Finding>& findings) {
  int code = succeeded;
  for (const Finding& finding : findings) {
    if (finding.is == Finding::Is::not_ready && finding.code != "rights-missing") return failed;
    if (finding.is == Finding::Is::not_ready || finding.is == Finding::Is::not_allowed) code = not_allowed;
  }
  return code;
}

}  // namespace hatchd::client
