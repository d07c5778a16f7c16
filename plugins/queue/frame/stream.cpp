#include "queue/frame/stream.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>

#include "common/tls.hpp"

namespace queue {
namespace {

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

std::string address_text(const sockaddr* address, socklen_t size, std::uint16_t port) {
  char host[NI_MAXHOST] = "?";
  ::getnameinfo(address, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  const std::string text = host;
  return (text.find(':') == text.npos ? text : "[" + text + "]") + ":" + std::to_string(port);
}

// 0, or an errno.
int connect_one(int fd, const sockaddr* address, socklen_t size, const Watch& watch) {
  if (::connect(fd, address, size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!watch.wait(fd, POLLOUT)) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

int connect_unix(const std::string& path, const Watch& watch) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Trouble("the path of its socket is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw Trouble("socket: " + reason(errno));
  const int error = connect_one(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address, watch);
  if (error == 0) return fd;
  ::close(fd);
  throw Trouble("cannot connect to " + path + ": " + reason(error), "is it running, and is this its socket?");
}

std::string tls_error(SSL* ssl) {
  if (const long verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
    return std::string("its certificate is not trusted: ") + X509_verify_cert_error_string(verified);
  const unsigned long code = ERR_peek_last_error();
  const char* text = code ? ERR_reason_error_string(code) : nullptr;
  return text ? text : "the connection ended";
}

}  // namespace

std::string reason(int error) {
  if (error == ETIMEDOUT) return "no answer in time";
  std::string text = std::strerror(error);
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])))
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

Watch Watch::within(std::chrono::milliseconds limit) const { return {*run_, std::min(end_, Clock::now() + limit)}; }

Watch Watch::cleanup(std::chrono::milliseconds limit) const {
  Watch watch{*run_, Clock::now() + limit};
  watch.heeds_ = false;
  return watch;
}

bool Watch::wait(int fd, short events) const {
  pollfd entries[] = {{fd, events, 0}};
  return wait_for(entries);
}

bool Watch::wait_any(std::initializer_list<int> fds) const {
  std::vector<pollfd> entries;
  for (const int fd : fds)
    if (fd >= 0) entries.push_back({fd, POLLIN, 0});
  return wait_for(entries);
}

bool Watch::wait_for(std::span<pollfd> wanted) const {
  std::vector<pollfd> entries(wanted.begin(), wanted.end());
  if (heeds_) entries.push_back({run_->cancel_fd(), POLLIN, 0});
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now()).count();
    const int n =
        ::poll(entries.data(), entries.size(), left < 0 ? 0 : static_cast<int>(std::min<long long>(left, 1 << 30)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error("poll: " + reason(errno));
    if (heeds_ && entries.back().revents) throw hatch::Cancelled{};
    return n > 0;
  }
}

std::string Place::name() const {
  if (!socket.empty()) return socket;
  return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

int connect_socket(const Place& place, const Watch& watch, std::string& address) {
  address = place.name();
  if (!place.socket.empty()) return connect_unix(place.socket, watch);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(place.port);
  // An address needs no resolver, which would ask the kernel for all of the machine's before it says so.
  hints.ai_flags = AI_NUMERICHOST;
  int error = ::getaddrinfo(place.host.c_str(), port.c_str(), &hints, &found);
  if (error == EAI_NONAME) {
    hints.ai_flags = AI_ADDRCONFIG;
    // Blocks for as long as the resolver is told to; the run's own deadline ends it.
    error = ::getaddrinfo(place.host.c_str(), port.c_str(), &hints, &found);
  }
  if (error != 0)
    throw Trouble("the name " + place.host + " is not found: " + ::gai_strerror(error),
                  "is the name right, and does it resolve where hatchd runs? hatchd's own resolv.conf and hosts "
                  "count, also with network=target");
  const std::unique_ptr<addrinfo, FreeAddresses> list{found};
  std::string tried;
  int count = 0;
  for (const addrinfo* one = list.get(); one && count < 8; one = one->ai_next, ++count) {
    const int fd = ::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) continue;
    const int failed = connect_one(fd, one->ai_addr, one->ai_addrlen, watch);
    const std::string text = address_text(one->ai_addr, one->ai_addrlen, place.port);
    if (failed == 0) {
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      address = text;
      return fd;
    }
    ::close(fd);
    tried += (tried.empty() ? "" : ", ") + text + ": " + reason(failed);
    if (watch.over()) break;
  }
  throw Trouble("cannot connect to " + (tried.empty() ? place.name() + ": it has no usable address" : tried),
                "is it running, and does it listen at this address?");
}

struct Stream::Wire {
  int fd = -1;
  std::string address, tls;
  std::unique_ptr<SSL, FreeSsl> ssl;

  ~Wire() {
    ssl.reset();
    if (fd >= 0) ::close(fd);
  }

  // After SSL_…() answered `n` <= 0: what to wait for; 0: it has ended.
  short wanted(int n) const {
    switch (SSL_get_error(ssl.get(), n)) {
      case SSL_ERROR_WANT_READ: return POLLIN;
      case SSL_ERROR_WANT_WRITE: return POLLOUT;
      default: return 0;
    }
  }

  void start_tls(const Place& place, const Watch& watch) {
    ERR_clear_error();
    SSL_CTX* context = common::tls_client();
    ssl.reset(context ? SSL_new(context) : nullptr);
    X509_STORE* trusted = ssl ? X509_STORE_new() : nullptr;
    if (!trusted) throw Trouble("TLS cannot be set up");
    SSL_set0_verify_cert_store(ssl.get(), trusted);
    SSL_set1_chain_cert_store(ssl.get(), trusted);  // completes the chain of our own certificate
    SSL_set_min_proto_version(ssl.get(), TLS1_2_VERSION);
    const Tls& tls_settings = place.tls;
    if (tls_settings.ca.empty())
      common::add_system_authorities(trusted);
    else if (X509_STORE_load_file(trusted, tls_settings.ca.c_str()) != 1 && tls_settings.verify)
      throw Trouble("the certificates of authorities in " + tls_settings.ca + " cannot be read",
                    "name a PEM file that hatchd's user for plugins can read");
    if (!tls_settings.certificate.empty() &&
        (SSL_use_certificate_chain_file(ssl.get(), tls_settings.certificate.c_str()) != 1 ||
         SSL_use_PrivateKey_file(ssl.get(), tls_settings.key.c_str(), SSL_FILETYPE_PEM) != 1))
      throw Trouble("the certificate " + tls_settings.certificate + " or its key cannot be used",
                    "name PEM files that belong together and that hatchd's user for plugins can read");
    SSL_set_fd(ssl.get(), fd);
    SSL_set_verify(ssl.get(), tls_settings.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    if (!place.host.empty()) {
      unsigned char address_bytes[sizeof(in6_addr)];
      const bool literal = ::inet_pton(AF_INET, place.host.c_str(), address_bytes) == 1 ||
                           ::inet_pton(AF_INET6, place.host.c_str(), address_bytes) == 1;
      if (literal) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), place.host.c_str());
      } else {
        SSL_set_tlsext_host_name(ssl.get(), place.host.c_str());
        SSL_set1_host(ssl.get(), place.host.c_str());
      }
    }
    for (int n; (n = SSL_connect(ssl.get())) != 1;) {
      const short events = wanted(n);
      if (events == 0)
        throw Trouble("TLS with " + address + " failed: " + tls_error(ssl.get()),
                      "does this port speak TLS, and is its authority the one that \"ca\" names?");
      if (!watch.wait(fd, events)) throw Trouble("TLS with " + address + " failed: no answer in time");
    }
    tls = std::string(SSL_get_version(ssl.get())) + " " + SSL_get_cipher_name(ssl.get());
  }
};

Stream::Stream(const Place& place, const Watch& watch) : wire_(std::make_unique<Wire>()) {
  wire_->fd = connect_socket(place, watch, wire_->address);
  if (place.tls.on) wire_->start_tls(place, watch);
}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

int Stream::fd() const { return wire_->fd; }
const std::string& Stream::address() const { return wire_->address; }
const std::string& Stream::tls() const { return wire_->tls; }

void Stream::write(std::string_view bytes, const Watch& watch) {
  while (!bytes.empty()) {
    short events = POLLOUT;
    ssize_t n = 0;
    if (wire_->ssl) {
      n = SSL_write(wire_->ssl.get(), bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20)));
      if (n <= 0) events = wire_->wanted(static_cast<int>(n));
    } else {
      n = ::send(wire_->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) events = 0;
    }
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (events == 0) throw Trouble(address() + " closed the connection");
    if (!watch.wait(wire_->fd, events)) throw Trouble(address() + " takes nothing any more: no room in time");
  }
}

bool Stream::read(std::string& out, const Watch* watch) {
  char buffer[16 * 1024];
  for (;;) {
    short events = POLLIN;
    ssize_t n = 0;
    if (wire_->ssl) {
      n = SSL_read(wire_->ssl.get(), buffer, sizeof buffer);
      if (n <= 0) events = wire_->wanted(static_cast<int>(n));
    } else {
      n = ::recv(wire_->fd, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n == 0 || (n < 0 && errno != EAGAIN)) events = 0;
    }
    if (n > 0) {
      out.append(buffer, static_cast<std::size_t>(n));
      return true;
    }
    if (events == 0) throw Trouble(address() + " closed the connection");
    if (!watch || !watch->wait(wire_->fd, events)) return false;
  }
}

}  // namespace queue
