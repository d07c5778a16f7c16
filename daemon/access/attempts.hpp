// How often a source may present a wrong token: a token bucket for each uid or address, in a table with a bound. It
// keeps a guesser from filling the log and the loop; what makes guessing hopeless is the length of a token. So a right
// token is never refused because of somebody else's wrong ones behind the same proxy.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "http/message.hpp"

namespace hatchd::access {

class FailedAttempts {
 public:
  static constexpr double burst = 10;
  static constexpr double per_second = 1.0 / 6;
  static constexpr std::size_t max_sources = 1024;

  using Clock = std::chrono::steady_clock;

  // Counts one wrong token; false when the source has used up its attempts.
  bool count(const std::string& source, Clock::time_point now);
  // How long until the next one of this source is no longer too many.
  std::chrono::seconds wait(const std::string& source, Clock::time_point now) const;
  std::size_t sources() const { return buckets_.size(); }

 private:
  struct Bucket {
    double left = burst;
    Clock::time_point at;
  };
  static bool take(Bucket& bucket, Clock::time_point now);

  std::map<std::string, Bucket, std::less<>> buckets_;
  Bucket crowd_;  // shared by all sources that find the table full
};

// "uid 1000", "192.0.2.7", or the /64 of an IPv6 address, of which one host has plenty.
std::string source_of(const http::Peer& peer);

}  // namespace hatchd::access
