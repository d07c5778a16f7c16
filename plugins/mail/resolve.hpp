// Names to addresses, by a given resolv.conf and hosts file: hatchd's own or the target's. getaddrinfo(3) knows only its
// own process's files, and tells neither who answered nor how long the answer holds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mail/fences.hpp"
#include "mail/report.hpp"

namespace mail {

struct ResolverFiles {
  std::string resolv_conf, hosts;    // their content
  std::vector<std::string> servers;  // instead of those of resolv_conf
};

// What this process would use.
ResolverFiles own_resolver_files();

// Addresses in the order of the answers; `family` is "any", "ipv4" or "ipv6". Notes in `report` what was asked and
// answered. Throws Stop, Cancelled.
std::vector<std::string> addresses_of(const std::string& host, std::string_view family, const ResolverFiles& files,
                                      const Fences& fences, Report& report);

// The mail exchangers of a domain, the preferred first; the domain itself where it has none (RFC 5321, 5.1).
std::vector<std::string> exchangers_of(const std::string& domain, const ResolverFiles& files, const Fences& fences,
                                       Report& report);

bool is_ip(const std::string& host);

// The addresses that a hosts file has for a name.
std::vector<std::string> in_hosts(std::string_view hosts, std::string_view name);

}  // namespace mail
