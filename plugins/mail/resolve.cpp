#include "mail/resolve.hpp"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>

#include "mail/text.hpp"

namespace mail {
namespace {

constexpr std::size_t max_file = 1024 * 1024, max_addresses = 16, max_exchangers = 10;
constexpr Millis patience{15'000};

std::string content_of(const char* path) {
  std::string content;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return content;
  char buffer[16384];
  for (ssize_t n; content.size() < max_file && (n = ::read(fd, buffer, sizeof buffer)) > 0;)
    content.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  return content;
}

// c-ares reads resolv.conf by name: a file in memory has one, below /proc/self/fd.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content) : fd_(::memfd_create("resolv.conf", MFD_CLOEXEC)) {
    while (fd_ >= 0 && !content.empty()) {
      const ssize_t n = ::write(fd_, content.data(), content.size());
      if (n <= 0) break;
      content.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

class Channel {
 public:
  explicit Channel(const ResolverFiles& files) : file_(files.resolv_conf) {
    static const int library = ares_library_init(ARES_LIB_INIT_ALL);
    std::string path = file_.path(), lookups = "b";
    ares_options options{};
    options.resolvconf_path = path.data();
    options.lookups = lookups.data();  // hosts files are our own business
    options.timeout = 2000;
    options.tries = 2;
    const int mask = ARES_OPT_RESOLVCONF | ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    const int status = library != ARES_SUCCESS ? library : ares_init_options(&channel_, &options, mask);
    if (status != ARES_SUCCESS)
      throw Stop{Cause::dns_failed, std::string("the resolver cannot start: ") + ares_strerror(status)};
    std::string list;
    for (const std::string& server : files.servers) (list += list.empty() ? "" : ",") += server;
    if (!list.empty() && ares_set_servers_ports_csv(channel_, list.c_str()) != ARES_SUCCESS) {
      ares_destroy(channel_);
      throw Stop{Cause::dns_failed, "the profile's dns holds something that is no address of a name server"};
    }
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() { ares_destroy(channel_); }

  ares_channel get() { return channel_; }

  std::string servers() {
    ares_addr_port_node* nodes = nullptr;
    std::string text;
    if (ares_get_servers_ports(channel_, &nodes) != ARES_SUCCESS) return text;
    for (const ares_addr_port_node* node = nodes; node && text.size() < 200; node = node->next) {
      char address[INET6_ADDRSTRLEN] = "?";
      ::inet_ntop(node->family, &node->addr, address, sizeof address);
      (text += text.empty() ? "" : ", ") += address;
    }
    ares_free_data(nodes);
    return text;
  }

  // Until every question is answered.
  void wait(const Fences& fences) {
    const Clock::time_point end = fences.until(patience);
    for (;;) {
      ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
      const int bits = ares_getsock(channel_, sockets, ARES_GETSOCK_MAXNUM);
      std::vector<pollfd> polled{{fences.cancel_fd, POLLIN, 0}};
      for (int i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
        const short events = static_cast<short>((ARES_GETSOCK_READABLE(bits, i) ? POLLIN : 0) |
                                                (ARES_GETSOCK_WRITABLE(bits, i) ? POLLOUT : 0));
        if (events) polled.push_back({sockets[i], events, 0});
      }
      if (polled.size() == 1) return;
      timeval longest{1, 0}, buffer{};
      const timeval* next = ares_timeout(channel_, &longest, &buffer);
      const int limit = static_cast<int>(next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
      if (::poll(polled.data(), polled.size(), limit) < 0 && errno != EINTR)
        throw Stop{Cause::dns_failed, "poll failed"};
      if (polled[0].revents) throw Cancelled{};
      if (Clock::now() >= end) return ares_cancel(channel_);
      if (std::none_of(polled.begin(), polled.end(), [](const pollfd& one) { return one.revents != 0; }))
        ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      for (std::size_t i = 1; i < polled.size(); ++i)
        if (polled[i].revents)
          ares_process_fd(channel_, polled[i].revents & ~POLLOUT ? polled[i].fd : ARES_SOCKET_BAD,
                          polled[i].revents & POLLOUT ? polled[i].fd : ARES_SOCKET_BAD);
    }
  }

 private:
  MemoryFile file_;
  ares_channel channel_ = nullptr;
};

[[noreturn]] void fail(const std::string& name, int status, const std::string& servers) {
  const std::string who = servers.empty() ? "" : " (asked " + servers + ")";
  if (status == ARES_ENOTFOUND || status == ARES_ENODATA)
    throw Stop{status == ARES_ENOTFOUND ? Cause::no_such_name : Cause::no_address,
               status == ARES_ENOTFOUND ? "there is no such name as " + name + who
                                        : "the name " + name + " has no address" + who};
  if (status == ARES_ETIMEOUT || status == ARES_ECANCELLED)
    throw Stop{Cause::dns_failed, "no name server answered in time about " + name + who};
  throw Stop{Cause::dns_failed, "looking up " + name + " failed: " + ares_strerror(status) + who};
}

struct Answer {
  int status = ARES_ECANCELLED;
  std::vector<std::string> addresses;
  std::vector<std::string> aliases;
  int ttl = 0;
};

void on_addresses(void* arg, int status, int, ares_addrinfo* found) {
  const std::unique_ptr<ares_addrinfo, decltype(&ares_freeaddrinfo)> owner(found, &ares_freeaddrinfo);
  Answer& answer = *static_cast<Answer*>(arg);
  answer.status = status;
  if (status != ARES_SUCCESS || !found) return;
  for (const ares_addrinfo_cname* alias = found->cnames; alias && answer.aliases.size() < 8; alias = alias->next)
    answer.aliases.push_back(std::string(alias->alias ? alias->alias : "?") + " is " +
                             (alias->name ? alias->name : "?"));
  for (const ares_addrinfo_node* node = found->nodes; node && answer.addresses.size() < max_addresses;
       node = node->ai_next) {
    char text[INET6_ADDRSTRLEN] = "";
    const void* address = node->ai_family == AF_INET
                              ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(node->ai_addr)->sin_addr)
                              : &reinterpret_cast<const sockaddr_in6*>(node->ai_addr)->sin6_addr;
    if (::inet_ntop(node->ai_family, address, text, sizeof text)) answer.addresses.emplace_back(text);
    answer.ttl = node->ai_ttl;
  }
}

struct Exchanger {
  int preference;
  std::string host;
};
struct Exchangers {
  int status = ARES_ECANCELLED;
  std::vector<Exchanger> all;
};

void on_exchangers(void* arg, int status, int, unsigned char* data, int size) {
  Exchangers& answer = *static_cast<Exchangers*>(arg);
  answer.status = status;
  if (status != ARES_SUCCESS) return;
  ares_mx_reply* list = nullptr;
  answer.status = ares_parse_mx_reply(data, size, &list);
  for (const ares_mx_reply* one = list; one && answer.all.size() < 50; one = one->next)
    answer.all.push_back({one->priority, one->host ? one->host : ""});
  if (list) ares_free_data(list);
}

bool fits(const std::string& address, std::string_view family) {
  const bool v6 = address.find(':') != std::string::npos;
  return family == "any" || (family == "ipv6") == v6;
}

void keep_family(std::vector<std::string>& addresses, std::string_view family) {
  std::erase_if(addresses, [&](const std::string& address) { return !fits(address, family); });
}

std::string joined(const std::vector<std::string>& all) {
  std::string text;
  for (const std::string& one : all) (text += text.empty() ? "" : ", ") += one;
  return text;
}

void note(Report& report, const std::string& text) {
  report.resolution.push_back(report.mask(text));
  report.note(Line::By::note, text);
}

}  // namespace

ResolverFiles own_resolver_files() { return {content_of("/etc/resolv.conf"), content_of("/etc/hosts"), {}}; }

bool is_ip(const std::string& host) {
  in6_addr any{};
  return ::inet_pton(AF_INET, host.c_str(), &any) == 1 || ::inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

std::vector<std::string> in_hosts(std::string_view hosts, std::string_view name) {
  std::vector<std::string> found;
  while (!hosts.empty() && found.size() < max_addresses) {
    const std::size_t end = std::min(hosts.find('\n'), hosts.size());
    std::string_view line = hosts.substr(0, end);
    hosts.remove_prefix(std::min(end + 1, hosts.size()));
    line = trimmed(line.substr(0, line.find('#')));
    std::string address;
    while (!line.empty()) {
      const std::size_t stop = std::min(line.find_first_of(" \t"), line.size());
      const std::string word(line.substr(0, stop));
      line = trimmed(line.substr(stop));
      if (address.empty()) {
        if (!is_ip(word)) break;
        address = word;
      } else if (same_ignoring_case(word, name)) {
        if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(address);
        break;
      }
    }
  }
  return found;
}

std::vector<std::string> addresses_of(const std::string& host, std::string_view family, const ResolverFiles& files,
                                      const Fences& fences, Report& report) {
  if (is_ip(host)) {
    if (!fits(host, family))
      throw Stop{Cause::no_address, host + " is no address of the family that the profile asks for"};
    return {host};
  }
  std::vector<std::string> found = in_hosts(files.hosts, host);
  // RFC 6761, 6.3: nobody is asked for localhost.
  if (found.empty() && same_ignoring_case(host, "localhost")) found = {"127.0.0.1", "::1"};
  keep_family(found, family);
  if (!found.empty()) {
    note(report, host + ": " + joined(found) + " (hosts file)");
    return found;
  }
  Answer answer;  // outlives the channel, whose end answers what is still open
  Channel channel(files);
  ares_addrinfo_hints hints{};
  hints.ai_family = family == "ipv4" ? AF_INET : family == "ipv6" ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  const Clock::time_point begin = Clock::now();
  ares_getaddrinfo(channel.get(), host.c_str(), nullptr, &hints, on_addresses, &answer);
  channel.wait(fences);
  const std::string servers = channel.servers();
  if (answer.status != ARES_SUCCESS) fail(host, answer.status, servers);
  keep_family(answer.addresses, family);
  if (answer.addresses.empty()) fail(host, ARES_ENODATA, servers);
  for (const std::string& alias : answer.aliases) note(report, alias + " (alias)");
  note(report, host + ": " + joined(answer.addresses) + " (DNS " + servers + ", holds for " +
                   std::to_string(answer.ttl) + " s, answered in " +
                   std::to_string(static_cast<long>(ms_since(begin))) + " ms)");
  return answer.addresses;
}

std::vector<std::string> exchangers_of(const std::string& domain, const ResolverFiles& files, const Fences& fences,
                                       Report& report) {
  Exchangers answer;
  Channel channel(files);
  ares_query(channel.get(), domain.c_str(), ns_c_in, ns_t_mx, on_exchangers, &answer);
  channel.wait(fences);
  if (answer.status == ARES_ENODATA) {
    note(report, domain + " has no mail exchanger (MX); mail goes to the name itself");
    return {domain};
  }
  if (answer.status != ARES_SUCCESS) fail(domain, answer.status, channel.servers());
  // RFC 7505: a single "." says that the domain takes no mail.
  if (answer.all.size() == 1 && (answer.all[0].host.empty() || answer.all[0].host == "."))
    throw Stop{Cause::null_mx, "the domain " + domain + " says that it takes no mail (null MX, RFC 7505)"};
  std::shuffle(answer.all.begin(), answer.all.end(), std::mt19937{std::random_device{}()});
  std::stable_sort(answer.all.begin(), answer.all.end(),
                   [](const Exchanger& a, const Exchanger& b) { return a.preference < b.preference; });
  std::vector<std::string> hosts;
  for (const Exchanger& one : answer.all) {
    if (hosts.size() == max_exchangers) break;
    note(report, domain + " MX " + std::to_string(one.preference) + " " + one.host);
    hosts.push_back(one.host);
  }
  return hosts;
}

}  // namespace mail
