// Who is at the other end of a connection, as the kernel says.
#pragma once

#include <cstddef>
#include <string>

#include "http/message.hpp"

namespace hatchd::http {

// Of a connection just accepted. What the kernel does not tell stays empty; for a Unix socket without credentials the
// uid is the overflow uid, which has no role.
Peer peer_of(int fd, bool local, std::size_t listener);

// "127.0.0.1:51234" to "127.0.0.1", "[::1]:4282" to "[::1]".
std::string host_of_address(const std::string& address);

// By whom shares of connections and memory are counted: access::source_of(), with one key for every address of this
// machine's loopback, since a local user may call from any of them.
std::string source_key(const Peer& peer);

}  // namespace hatchd::http
