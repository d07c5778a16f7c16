// What systemd tells a service, and what it wants to hear: readiness, reloads, the watchdog (sd_notify(3),
// sd_watchdog_enabled(3)), and sockets that it bound beforehand (sd_listen_fds(3)). The protocols are variables of the
// environment and datagrams, so no library is needed. Without systemd nothing here does anything.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace hatchd::supervisor {

class Systemd {
 public:
  // Reads the environment, and takes its variables away so that nobody below mistakes them for their own.
  Systemd();

  // How often the watchdog wants to hear that we live: half of what it bears. Absent without a watchdog.
  std::optional<std::chrono::microseconds> beat() const { return beat_; }
  // Sockets that were bound for us. What is left in it at the end of the supervisor's start is closed.
  std::vector<UniqueFd>& sockets() { return sockets_; }

  void ready(std::string_view status) const;
  void reloading() const;  // until the next ready()
  void stopping() const;
  void alive() const;                        // a beat
  void status(std::string_view text) const;  // the line that `systemctl status` shows

 private:
  void tell(std::string_view state) const;

  std::string address_;
  std::optional<std::chrono::microseconds> beat_;
  std::vector<UniqueFd> sockets_;
};

}  // namespace hatchd::supervisor
