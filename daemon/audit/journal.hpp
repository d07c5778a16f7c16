// The way to journald, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry, a field a line.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace hatchd::audit {

inline constexpr const char* journal_socket = "/run/systemd/journal/socket";

// A socket to whoever listens at `path`; none when nobody does. Opened before the seccomp filter forbids sockets.
UniqueFd connect_journal(const char* path = journal_socket);

// The datagram of one entry: its line as MESSAGE, and what one would search by as fields.
std::string journal_datagram(const boost::json::object& entry, std::string_view line);

// Never waits; false when journald did not take it, which is no reason to stop: the file is the record.
bool send_to_journal(int socket, std::string_view datagram);

}  // namespace hatchd::audit
