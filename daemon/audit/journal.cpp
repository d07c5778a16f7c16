#include "audit/journal.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <boost/json.hpp>
#include <cstring>

#include "base/json.hpp"
#include "hatch/json.hpp"

namespace hatchd::audit {

UniqueFd connect_journal(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) return {};
  std::strcpy(address.sun_path, path);
  UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return socket;
}

std::string journal_datagram(const boost::json::object& entry, std::string_view line) {
  std::string datagram;
  const auto field = [&](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    (((datagram += name) += '=') += hatch::printable(value)) += '\n';  // printable: no line break, one field a line
  };
  field("MESSAGE", line);
  field("PRIORITY", text_of(entry, "event") == "refused" ? "4" : "5");  // warning, notice
  field("SYSLOG_IDENTIFIER", "hatchd-audit");
  field("HATCHD_EVENT", text_of(entry, "event"));
  field("HATCHD_RUN", text_of(entry, "run"));
  field("HATCHD_HATCH", text_of(entry, "hatch"));
  if (const boost::json::object* caller = object_of(entry, "caller")) field("HATCHD_CALLER", text_of(*caller, "name"));
  return datagram;
}

bool send_to_journal(int socket, std::string_view datagram) {
  return ::send(socket, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(datagram.size());
}

}  // namespace hatchd::audit
