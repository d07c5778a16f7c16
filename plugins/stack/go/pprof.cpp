#include "stack/go/pprof.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "hatch/json.hpp"
#include "stack/connection.hpp"
#include "stack/go/goroutines.hpp"
#include "stack/listeners.hpp"

namespace stack::go {
namespace {

using namespace std::chrono_literals;

// How long to wait: never for more than a part of the run's time, since a unit may be many programs that all hang.
constexpr auto index_limit = 1000ms;   // for one server
constexpr auto search_limit = 4000ms;  // for all of them
constexpr auto answer_limit = 10'000ms;
constexpr int search_part = 8, answer_part = 3;
constexpr std::size_t max_servers = 8, max_index = 256 * 1024;
constexpr std::string_view usual_path = "/debug/pprof";

// How long a goroutine holds all others while its text is made, or while it is counted, on the safe side: the text of 20
// frames takes up to 100 us on a slow machine, and 10 on a quick one.
constexpr std::uint64_t text_us = 50, count_us = 5;
// Since Go 1.19 (src/runtime/mprof.go) the others run while it is counted.
constexpr int counts_beside = 19;

// Where to ask. An endpoint that was named is one alone.
struct Server {
  Endpoint endpoint;
  std::string path{usual_path};   // without the last '/'
  std::optional<Endpoint> other;  // where nobody listens there
};

struct Named {
  Endpoint endpoint;
  std::uint16_t port = 0;
  std::string path;
};

// "http://127.0.0.1:6060/debug/pprof", "http://[::1]:6060", "http://localhost:6060/"
std::optional<Named> parse_address(std::string_view text) {
  constexpr std::string_view scheme = "http://";
  if (!text.starts_with(scheme)) return std::nullopt;
  text.remove_prefix(scheme.size());
  const std::size_t slash = std::min(text.find('/'), text.size());
  std::string_view host = text.substr(0, slash), path = text.substr(slash);
  const std::size_t colon = host.rfind(':');
  if (colon == host.npos) return std::nullopt;
  Named named;
  const std::string_view digits = host.substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), named.port);
  if (error != std::errc{} || end != digits.data() + digits.size() || named.port == 0) return std::nullopt;
  host = host.substr(0, colon);
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view{"/-._~%"}.find(c) != std::string_view::npos;
  };
  while (path.ends_with('/')) path.remove_suffix(1);
  if (!std::all_of(path.begin(), path.end(), plain)) return std::nullopt;
  named.path = path.empty() ? usual_path : path;

  Endpoint& endpoint = named.endpoint;
  if (host.starts_with('[') && host.ends_with(']')) {
    auto& in = reinterpret_cast<sockaddr_in6&>(endpoint.address);
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(named.port);
    endpoint.length = sizeof in;
    host = host.substr(1, host.size() - 2);
    if (::inet_pton(AF_INET6, std::string(host).c_str(), &in.sin6_addr) != 1) return std::nullopt;
    endpoint.text = "[" + std::string(host) + "]:" + std::string(digits);
  } else {
    if (host == "localhost") host = "127.0.0.1";
    auto& in = reinterpret_cast<sockaddr_in&>(endpoint.address);
    in.sin_family = AF_INET;
    in.sin_port = htons(named.port);
    endpoint.length = sizeof in;
    if (::inet_pton(AF_INET, std::string(host).c_str(), &in.sin_addr) != 1) return std::nullopt;
    endpoint.text = std::string(host) + ":" + std::string(digits);
  }
  return named;
}

// The handlers are in the program when the package is, since its own initialization names them.
bool links_pprof(const ElfFile& program) {
  constexpr std::size_t max_table = std::size_t{512} << 20, piece = std::size_t{1} << 20;
  constexpr std::string_view wanted("\0net/http/pprof.Index\0", 22);
  const Elf64_Shdr* section = program.section(".gopclntab");
  if (!section) section = program.section(".data.rel.ro.gopclntab");
  if (!section || section->sh_size > max_table) return false;
  std::string part;
  for (std::uint64_t at = 0; at < section->sh_size; at += piece) {
    part.resize(std::min<std::uint64_t>(piece + wanted.size(), section->sh_size - at));
    if (!program.read_address(section->sh_addr + at, std::as_writable_bytes(std::span{part}))) return false;
    if (part.find(wanted) != part.npos) return true;
  }
  return false;
}

// Who listens on all addresses by IPv6 mostly does so by IPv4 as well, and a container may have no IPv6 but that socket.
Server server_of(const Listener& listener) {
  Server server{listener.endpoint, std::string(usual_path), std::nullopt};
  if (!listener.any || listener.endpoint.address.ss_family != AF_INET6) return server;
  server.other = std::exchange(server.endpoint, {});
  auto& in = reinterpret_cast<sockaddr_in&>(server.endpoint.address);
  in.sin_family = AF_INET;
  in.sin_port = htons(listener.port);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.endpoint.length = sizeof in;
  server.endpoint.text = "127.0.0.1:" + std::to_string(listener.port);
  return server;
}

bool is_stopped(const PprofQuestion& question) {
  const auto text = read_below(question.process.proc_fd, "task/" + std::to_string(question.living) + "/stat", 4096);
  const auto stat = text ? parse_stat(*text) : std::nullopt;
  return stat && (stat->state == 'T' || stat->state == 't');
}

// Empty: nowhere, and `why` says why.
std::vector<Server> servers_of(const PprofQuestion& question, std::string& why) {
  const auto named = question.named.empty() ? std::nullopt : parse_address(question.named);
  if (!named && !question.named.empty())
    return why =
               "the configuration has no address that can be asked: plugins.stack.pprof takes http://ADDRESS:PORT/PATH",
           std::vector<Server>{};
  if (!named && !links_pprof(question.program))
    return why = "the program does not contain net/http/pprof", std::vector<Server>{};
  if (!named && !shares_network(question.process, question.living))
    return why =
               "its network is another namespace than hatchd's (run hatchd in the same pod, or name an address that it "
               "reaches in plugins.stack.pprof)",
           std::vector<Server>{};
  if (is_stopped(question)) return why = "it is stopped, and answers nobody", std::vector<Server>{};
  Listeners listeners = find_listeners(question.process, question.living);
  if (!listeners.error.empty()) return why = "where it listens is not known: " + listeners.error, std::vector<Server>{};

  std::vector<Server> servers;
  if (named) {
    const bool own = std::any_of(listeners.own.begin(), listeners.own.end(),
                                 [&](const Listener& listener) { return listener.port == named->port; });
    if (own)
      servers.push_back({named->endpoint, named->path, std::nullopt});
    else
      why = "it does not listen on port " + std::to_string(named->port) + ", where the configuration has its profiles";
    return servers;
  }
  // Who serves profiles does it for this machine alone, mostly.
  std::stable_partition(listeners.own.begin(), listeners.own.end(), [](const Listener& one) { return one.loopback; });
  for (const Listener& listener : listeners.own)
    if ((listener.loopback || listener.any) && servers.size() < max_servers) servers.push_back(server_of(listener));
  if (servers.empty()) why = "it contains net/http/pprof, and listens neither on loopback nor on all addresses";
  return servers;
}

std::string reason(const HttpAnswer& answer) {
  constexpr std::string_view tls_only = "Client sent an HTTP request to an HTTPS server";
  if (answer.body.starts_with(tls_only)) return "speaks TLS";
  if (answer.status == 401 || answer.status == 403) return "asks who is there (" + std::to_string(answer.status) + ")";
  if (answer.status != 0 && answer.status != 200) return "answered " + std::to_string(answer.status);
  switch (answer.end) {
    case Got::timeout: return "did not answer in time";
    case Got::closed: return answer.status ? "broke off" : "closed the connection";
    case Got::broken: return "does not speak HTTP";
    default: return "has another page there";
  }
}

class Asker {
 public:
  Asker(const PprofQuestion& question, Hold& hold, PprofText& answer)
      : question_(question), hold_(hold), answer_(answer) {}

  // False: try the next one; answer.why then tells of this one, too.
  bool ask(const Server& server, Clock::time_point deadline) {
    Connection connection{hold_};
    const auto until = std::min(deadline, Clock::now() + index_limit);
    if (!connection.connect(server.endpoint, until)) {
      if (!server.other || hold_.cancelled()) return add(server, "cannot be connected to");
      return ask({*server.other, server.path, std::nullopt}, deadline);
    }
    const HttpAnswer index = connection.get(server.path + "/", max_index, until);
    const auto count = index.ok() ? goroutines_of_index(index.body) : std::nullopt;
    if (!count) return add(server, reason(index));
    if (shares_network(question_.process, question_.living) &&
        !is_other_end(question_.process, question_.living, connection.fd()))
      return add(server, "is answered by another process, or closes its connections at once");
    return fetch(connection, server, *count);
  }

 private:
  bool add(const Server& server, const std::string& what) {
    answer_.why += (answer_.why.empty() ? "" : "; ") + server.endpoint.text + " " + what;
    return false;
  }

  bool fetch(Connection& connection, const Server& server, std::uint64_t count) {
    const auto budget = static_cast<std::uint64_t>(std::max<Micros::rep>(hold_.max_pause().count(), 0));
    answer_.groups = count > budget / text_us;
    const std::string many = "would hold its " + std::to_string(count) +
                             " goroutines for longer than the pause budget of " + std::to_string(budget / 1000) + " ms";
    if (answer_.groups && !question_.groups) return add(server, many);
    if (answer_.groups && question_.minor < counts_beside && count > budget / count_us) return add(server, many);

    const std::string path = server.path + (answer_.groups ? "/goroutine?debug=1" : "/goroutine?debug=2");
    // No stop of ours, so it is no pause that the host could end: letting go of the target would end nothing.
    const auto begin = Clock::now();
    HttpAnswer text =
        connection.get(path, max_pprof_text, begin + std::min(answer_limit, hold_.remaining() / answer_part));
    if (text.status != 200 || text.end != Got::message || !text.body.starts_with("goroutine "))
      return add(server, reason(text));
    answer_.text = std::move(text.body);
    answer_.cut = text.cut || answer_.text.size() >= max_pprof_text;
    answer_.address = "http://" + server.endpoint.text + path;
    const bool stops = !answer_.groups || question_.minor < counts_beside;
    answer_.held = stops ? std::chrono::duration_cast<Micros>(text.came - begin) : Micros{0};
    return true;
  }

  const PprofQuestion& question_;
  Hold& hold_;
  PprofText& answer_;
};

}  // namespace

bool is_pprof_address(std::string_view address) { return parse_address(address).has_value(); }

// "<tr><td>23</td><td><a href='goroutine?debug=1'>goroutine</a></td></tr>"; older versions write the link without quotes
std::optional<std::uint64_t> goroutines_of_index(std::string_view page) {
  constexpr std::string_view cell = "<td>";
  std::size_t at = page.find("goroutine?debug=1");
  for (int cells = 0; cells < 2 && at != page.npos && at > 0; ++cells) at = page.rfind(cell, at - 1);
  if (at == page.npos) return std::nullopt;
  const std::string_view digits = page.substr(at + cell.size());
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  return error == std::errc{} ? std::optional{count} : std::nullopt;
}

std::string foresee_pprof(const PprofQuestion& question, std::string& why) {
  std::string text;
  for (const Server& server : servers_of(question, why)) text += (text.empty() ? "" : ", ") + server.endpoint.text;
  return text;
}

bool ask_pprof(const PprofQuestion& question, Hold& hold, PprofText& answer) {
  const std::vector<Server> servers = servers_of(question, answer.why);
  Asker asker{question, hold, answer};
  const auto deadline = Clock::now() + std::min(search_limit, hold.remaining() / search_part);
  for (const Server& server : servers) {
    if (asker.ask(server, deadline)) break;
    if (hold.cancelled()) return false;
    if (Clock::now() >= deadline) break;
  }
  if (!answer.text.empty()) answer.why.clear();
  return !hold.cancelled();
}

}  // namespace stack::go
