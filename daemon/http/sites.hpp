// Two checks that keep a browser from being turned against hatchd. Loopback is no trust boundary: any web page can make
// the browser of somebody on this host send requests to 127.0.0.1.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.hpp"

namespace hatchd::http {

// DNS rebinding needs a name: literals of addresses and loopback names pass, other names only when configured. The port
// does not matter.
bool host_allowed(std::string_view host, const std::vector<std::string>& hosts);

// Does a browser say that this request comes from another site (Origin, Sec-Fetch-Site)? Other clients say nothing.
bool is_cross_site(const Request& request);

}  // namespace hatchd::http
