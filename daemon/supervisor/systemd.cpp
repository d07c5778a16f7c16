#include "supervisor/systemd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace hatchd::supervisor {

namespace {

constexpr int first_socket = 3;  // SD_LISTEN_FDS_START

// Takes a variable out of the environment.
std::string taken(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value ? value : "";
  ::unsetenv(name);
  return text;
}

std::optional<long long> number_in(const std::string& text) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// One line of a message: a line break would begin another assignment.
std::string line_of(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return line;
}

}  // namespace

Systemd::Systemd() : address_(taken("NOTIFY_SOCKET")) {
  const auto interval = number_in(taken("WATCHDOG_USEC"));
  const auto watched = number_in(taken("WATCHDOG_PID"));
  if (interval && *interval > 0 && (!watched || *watched == ::getpid()))
    beat_ = std::chrono::microseconds(*interval / 2);

  const auto count = number_in(taken("LISTEN_FDS"));
  const auto receiver = number_in(taken("LISTEN_PID"));
  ::unsetenv("LISTEN_FDNAMES");
  if (!count || receiver != ::getpid()) return;
  for (int fd = first_socket; fd < first_socket + std::min<long long>(*count, 64); ++fd) {
    // They come without close-on-exec, for whom they are meant; from here on nobody else is.
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;
    sockets_.emplace_back(fd);
    if (const int flags = ::fcntl(fd, F_GETFL); flags >= 0) ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  }
}

void Systemd::ready(std::string_view status) const { tell("READY=1\nSTATUS=" + line_of(status)); }

void Systemd::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  // The time lets Type=notify-reload tell this reload from an earlier one.
  tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.tv_sec * 1'000'000LL + now.tv_nsec / 1000));
}

void Systemd::stopping() const { tell("STOPPING=1\nSTATUS=Ending runs"); }
void Systemd::alive() const { tell("WATCHDOG=1"); }
void Systemd::status(std::string_view text) const { tell("STATUS=" + line_of(text)); }

void Systemd::tell(std::string_view state) const {
  sockaddr_un address{};
  if (address_.size() < 2 || address_.size() > sizeof address.sun_path || (address_[0] != '/' && address_[0] != '@'))
    return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, address_.data(), address_.size());
  if (address_[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  // Nobody there, or too busy: systemd's concern. hatchd serves on.
  (void)!::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                  size);
}

}  // namespace hatchd::supervisor
