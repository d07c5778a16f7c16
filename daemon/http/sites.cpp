#include "http/sites.hpp"

#include <arpa/inet.h>

#include <algorithm>

#include "http/text.hpp"

namespace hatchd::http {
namespace {

struct Authority {
  std::string host;  // in lower case, without brackets and final dot
  std::string port;
  bool bracketed = false;
};

Authority parse_authority(std::string_view text) {
  Authority authority;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == text.npos) return {std::string(text), "", false};
    authority.bracketed = true;
    authority.host = lower(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
  } else {
    const std::size_t end = text.find(':');
    authority.host = lower(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end);
    if (authority.host.ends_with('.')) authority.host.pop_back();
  }
  if (text.starts_with(':')) authority.port = text.substr(1);
  return authority;
}

}  // namespace

bool host_allowed(std::string_view text, const std::vector<std::string>& hosts) {
  const Authority authority = parse_authority(text);
  in6_addr address{};
  if (inet_pton(authority.bracketed ? AF_INET6 : AF_INET, authority.host.c_str(), &address) == 1) return true;
  if (authority.bracketed) return false;
  if (authority.host == "localhost" || authority.host.ends_with(".localhost")) return true;  // RFC 6761, section 6.3
  return std::any_of(hosts.begin(), hosts.end(),
                     [&](const std::string& host) { return parse_authority(host).host == authority.host; });
}

bool is_cross_site(const Request& request) {
  const std::string site = lower(request.header("sec-fetch-site"));
  if (site == "cross-site" || site == "same-site") return true;

  const std::string_view origin = request.header("origin");
  if (origin.empty()) return false;
  const std::size_t scheme_end = origin.find("://");
  if (scheme_end == origin.npos) return true;  // "null": a sandboxed frame, a file
  const std::string_view standard_port = lower(origin.substr(0, scheme_end)) == "https" ? "443" : "80";
  Authority from = parse_authority(origin.substr(scheme_end + 3));
  Authority to = parse_authority(request.header("host"));
  // A proxy that ends TLS passes Host on without a port.
  if (from.port == standard_port) from.port.clear();
  if (to.port == standard_port) to.port.clear();
  return from.host != to.host || from.port != to.port;
}

}  // namespace hatchd::http
