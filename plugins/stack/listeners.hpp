// Where a process listens for TCP connections, by its own descriptors: a port number alone proves nothing, since another
// process may have taken it.
#pragma once

#include "stack/connection.hpp"

namespace stack {

struct Listener {
  Endpoint endpoint;  // what to connect to: loopback where it listens on all addresses
  std::uint16_t port = 0;
  std::uint64_t inode = 0;
  bool loopback = false;  // it listens there alone
  bool any = false;       // it listens on all addresses
};

struct Listeners {
  std::vector<Listener> own;          // of the process
  std::vector<std::uint16_t> others;  // ports of other processes in the same network namespace
  std::string error;                  // why it is not known
};

// Of the text of /proc/PID/net/tcp or tcp6 (proc_pid_net(5)): listening sockets, with no owner yet.
std::vector<Listener> parse_listening(std::string_view table);

// `living`: a thread of the process that has not ended.
Listeners find_listeners(const Process& process, pid_t living);

// Whether who answers on a connection of ours, over TCP and within our network namespace, is the process: a port may be
// listened on by several (SO_REUSEPORT, a socket that was inherited). False also where the kernel does not tell.
bool is_other_end(const Process& process, pid_t living, int connection);

// Whether the process's network is the one that we are in.
bool shares_network(const Process& process, pid_t living);

}  // namespace stack
