// Addresses that people write into a configuration.
#pragma once

#include <string>
#include <string_view>

namespace hatchd {

// Whether what stands behind the host of a URL, of which this is all behind "://", is no port from 1 to 65535.
bool has_wrong_port(std::string_view rest);

// Where the path of a URL begins; its size where it has none.
std::size_t path_begin(std::string_view url);

// What is wrong with an address of a request over HTTP, as the end of a sentence; "": nothing.
std::string wrong_http_url(std::string_view url);

}  // namespace hatchd
