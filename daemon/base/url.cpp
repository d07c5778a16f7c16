#include "base/url.hpp"

#include <algorithm>
#include <charconv>

namespace hatchd {

bool has_wrong_port(std::string_view rest) {
  std::string_view host = rest.substr(0, rest.find_first_of("/?#"));
  if (host.find('@') == host.npos) host = rest;  // or a password with a slash
  if (const std::size_t at = host.rfind('@'); at != host.npos) host.remove_prefix(at + 1);
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.starts_with('[')) host.remove_prefix(std::min(host.find(']'), host.size()));
  const std::size_t colon = host.rfind(':');
  const std::string_view port = host.substr(colon == host.npos ? host.size() : colon + 1);
  unsigned number = 1;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  return !port.empty() && (error != std::errc() || end != port.data() + port.size() || number < 1 || number > 65535);
}

std::size_t path_begin(std::string_view url) {
  const std::size_t scheme = std::min(url.find("://"), url.size());
  return std::min(url.find_first_of("/?#", std::min(scheme + 3, url.size())), url.size());
}

std::string wrong_http_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == url.npos || (url.substr(0, scheme) != "http" && url.substr(0, scheme) != "https"))
    return "must begin with http:// or https://";
  if (path_begin(url) == scheme + 3) return "names no host";
  if (std::any_of(url.begin(), url.end(), [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; }))
    return "holds a blank or a control character; write %20 and the like";
  if (url.find('#') != url.npos) return "has a fragment (#…), which is not sent to servers";
  if (has_wrong_port(url.substr(scheme + 3)))
    return "must have a port from 1 to 65535 or none behind the host; : / ? # and @ within a user or password are "
           "written "
           "%3A %2F %3F %23 and %40";
  return {};
}

}  // namespace hatchd
