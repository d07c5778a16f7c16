// The tables of sockets below /proc/PID/net, which are those of the process's own network namespace.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "settings/section.hpp"

namespace settings {

struct Socket {
  std::string protocol;                             // "tcp", "udp6", "unix", …
  std::string local, peer;                          // "127.0.0.1:80", "[::1]:80", a path; "@name" without a file
  std::string state;                                // "LISTEN", "ESTABLISHED", …
  std::uint64_t send_queue = 0, receive_queue = 0;  // bytes; of a listener: the backlog and how full it is
};

// Adds the lines of one table, by inode. `protocol` is the name of its file.
void parse_inet_table(std::string_view protocol, std::string_view text,
                      std::unordered_map<std::uint64_t, Socket>& into);
void parse_unix_table(std::string_view text, std::unordered_map<std::uint64_t, Socket>& into);

}  // namespace settings
