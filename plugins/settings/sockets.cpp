#include "settings/sockets.hpp"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "hatch/sock_diag.hpp"
#include "settings/descriptors.hpp"
#include "stack/listeners.hpp"

namespace settings {
namespace {

constexpr std::size_t table_limit = std::size_t{32} << 20;

template <class N>
bool number(std::string_view text, N& value, int base) {
  return std::from_chars(text.data(), text.data() + text.size(), value, base).ptr == text.data() + text.size();
}

// "0100007F:1F90": the address in 32-bit words, each as this machine reads it from memory, and the port
// (net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c).
std::string endpoint(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == text.npos || (colon != 8 && colon != 32)) return std::string(text);
  unsigned char bytes[16] = {};
  for (std::size_t at = 0; at < colon; at += 8) {
    std::uint32_t word = 0;
    if (!number(text.substr(at, 8), word, 16)) return std::string(text);
    std::memcpy(bytes + at / 2, &word, sizeof word);
  }
  unsigned port = 0;
  if (!number(text.substr(colon + 1), port, 16)) return std::string(text);
  char shown[INET6_ADDRSTRLEN] = {};
  const bool six = colon == 32;
  ::inet_ntop(six ? AF_INET6 : AF_INET, bytes, shown, sizeof shown);
  const std::string address = six ? "[" + std::string(shown) + "]" : std::string(shown);
  return address + ":" + (port ? std::to_string(port) : "*");
}

// include/net/tcp_states.h
std::string tcp_state(std::string_view text) {
  static constexpr const char* names[] = {"?",         "ESTABLISHED", "SYN_SENT",    "SYN_RECV",   "FIN_WAIT1",
                                          "FIN_WAIT2", "TIME_WAIT",   "CLOSE",       "CLOSE_WAIT", "LAST_ACK",
                                          "LISTEN",    "CLOSING",     "NEW_SYN_RECV"};
  unsigned state = 0;
  return number(text, state, 16) && state < std::size(names) ? names[state] : std::string(text);
}

// net/unix/af_unix.c: flag 0x10000 is a listener, states are those of include/uapi/linux/net.h.
std::string unix_state(std::string_view flags, std::string_view state) {
  unsigned bits = 0;
  if (number(flags, bits, 16) && bits & 0x10000) return "LISTEN";
  return state == "03" ? "CONNECTED" : state == "01" ? "UNCONNECTED" : std::string(state);
}

using Pairs = std::unordered_map<std::uint64_t, std::uint64_t>;

// Attribute UNIX_DIAG_PEER of one answer.
void add_pair(std::string_view answer, Pairs& pairs) {
  unix_diag_msg socket;
  if (answer.size() < sizeof socket) return;
  std::memcpy(&socket, answer.data(), sizeof socket);
  for (std::size_t at = sizeof socket; at + sizeof(rtattr) + sizeof(std::uint32_t) <= answer.size();) {
    rtattr attribute;
    std::memcpy(&attribute, answer.data() + at, sizeof attribute);
    if (attribute.rta_len < sizeof attribute) return;
    std::uint32_t peer = 0;
    std::memcpy(&peer, answer.data() + at + sizeof attribute, sizeof peer);
    if (attribute.rta_type == UNIX_DIAG_PEER && attribute.rta_len == RTA_LENGTH(sizeof peer))
      pairs.insert_or_assign(socket.udiag_ino, peer);
    at += RTA_ALIGN(attribute.rta_len);
  }
}

// Which Unix sockets of this network namespace are connected, by inode; no file below /proc says it. What the kernel does
// not answer is left out.
Pairs unix_pairs() {
  Pairs pairs;
  unix_diag_req request{};
  request.sdiag_family = AF_UNIX;
  request.udiag_states = ~0U;
  request.udiag_show = UDIAG_SHOW_PEER;
  hatch::ask_sock_diag({reinterpret_cast<const char*>(&request), sizeof request}, [&](std::string_view answer) {
    add_pair(answer, pairs);
    return true;
  });
  return pairs;
}

// The other end as far as it has a name: of what was accepted that is the listener's.
void add_unix_peers(const Subject& subject, std::unordered_map<std::uint64_t, Socket>& known) {
  if (!stack::shares_network(subject.process, subject.process.pid)) return;
  for (const auto& [inode, peer] : unix_pairs()) {
    const auto at = known.find(inode), other = known.find(peer);
    if (at == known.end()) continue;
    const bool named = other != known.end() && !other->second.local.empty();
    at->second.peer = named ? other->second.local : "socket " + std::to_string(peer);
  }
}

}  // namespace

void parse_inet_table(std::string_view protocol, std::string_view text,
                      std::unordered_map<std::uint64_t, Socket>& into) {
  const bool tcp = protocol.starts_with("tcp");
  for_each_line(text, [&](std::string_view line) {
    // sl local rem st tx:rx tr:when retrnsmt uid timeout inode …
    const auto all = words(line);
    if (all.size() < 10 || !all[0].ends_with(':')) return;
    std::uint64_t inode = 0;
    if (!number(all[9], inode, 10) || inode == 0) return;
    Socket socket;
    socket.protocol = protocol;
    socket.local = endpoint(all[1]);
    socket.peer = endpoint(all[2]);
    socket.state = tcp ? tcp_state(all[3]) : all[3] == "01" ? "CONNECTED" : "UNCONNECTED";
    const std::size_t colon = all[4].find(':');
    if (colon != all[4].npos) {
      number(all[4].substr(0, colon), socket.send_queue, 16);
      number(all[4].substr(colon + 1), socket.receive_queue, 16);
    }
    into.insert_or_assign(inode, std::move(socket));
  });
}

void parse_unix_table(std::string_view text, std::unordered_map<std::uint64_t, Socket>& into) {
  for_each_line(text, [&](std::string_view line) {
    // Num: RefCount Protocol Flags Type St Inode [Path]
    const auto all = words(line);
    std::uint64_t inode = 0;
    if (all.size() < 7 || !all[0].ends_with(':') || !number(all[6], inode, 10)) return;
    Socket socket;
    socket.protocol = all[4] == "0002" ? "unix-datagram" : all[4] == "0005" ? "unix-seqpacket" : "unix";
    socket.state = unix_state(all[3], all[5]);
    // A path may hold blanks.
    if (all.size() > 7) socket.local = line.substr(static_cast<std::size_t>(all[7].data() - line.data()));
    into.insert_or_assign(inode, std::move(socket));
  });
}

Section sockets(const Subject& subject) {
  Section section{"sockets"};
  std::size_t count = 0;
  int error = 0;
  const std::vector<int> numbers = list_descriptors(subject.process.proc_fd, count, error);
  if (error) return section.missing("fd", error);
  std::unordered_map<std::uint64_t, Socket> known;
  for (const char* protocol : {"tcp", "tcp6", "udp", "udp6"}) {
    const auto table = stack::read_below(subject.process.proc_fd, std::string("net/") + protocol, table_limit);
    if (table)
      parse_inet_table(protocol, *table, known);
    else if (errno != ENOENT)  // ENOENT: no IPv6 here
      section.missing(std::string("net/") + protocol, errno);
  }
  if (const auto table = stack::read_below(subject.process.proc_fd, "net/unix", table_limit))
    parse_unix_table(*table, known);
  add_unix_peers(subject, known);
  hatch::Array list;
  for (const int number : numbers) {
    const auto target = stack::link_below(subject.process.proc_fd, "fd/" + std::to_string(number));
    const auto inode = target ? socket_inode(*target) : std::nullopt;
    if (!inode) continue;
    const auto at = known.find(*inode);
    hatch::Object entry;
    entry.add("fd", number).add("inode", *inode);
    std::string shown;
    if (at == known.end()) {
      shown = "of another kind (netlink, packet, …)";
    } else {
      const Socket& socket = at->second;
      entry.add("protocol", socket.protocol).add("state", socket.state);
      if (!socket.local.empty()) entry.add("local", socket.local);
      if (!socket.peer.empty()) entry.add("peer", socket.peer);
      if (socket.send_queue) entry.add("send_queue", socket.send_queue);
      if (socket.receive_queue) entry.add("receive_queue", socket.receive_queue);
      shown = socket.protocol + " " + socket.state + (socket.local.empty() ? "" : " " + socket.local);
      if (!socket.peer.empty() && socket.state != "LISTEN") shown += " -> " + socket.peer;
      if (socket.send_queue) shown += ", " + std::to_string(socket.send_queue) + " to send";
      if (socket.receive_queue) shown += ", " + std::to_string(socket.receive_queue) + " to receive";
    }
    list.add(entry);
    section.rows.push_back({std::to_string(number), shown});
  }
  section.json = list.json();
  return section;
}

}  // namespace settings
