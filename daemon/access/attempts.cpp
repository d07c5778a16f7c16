#include "access/attempts.hpp"

#include <arpa/inet.h>

#include <algorithm>

namespace hatchd::access {

namespace {

constexpr double whole = 1 - 1e-6;  // an attempt, whatever sums of sixths make of it

}  // namespace

bool FailedAttempts::take(Bucket& bucket, Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - bucket.at).count();
  bucket.left = std::min(burst, bucket.left + std::max(0.0, seconds) * per_second);
  bucket.at = now;
  if (bucket.left < whole) return false;
  bucket.left -= 1;
  return true;
}

bool FailedAttempts::count(const std::string& source, Clock::time_point now) {
  auto found = buckets_.find(source);
  if (found == buckets_.end()) {
    if (buckets_.size() >= max_sources) {
      // What has filled up again since is as good as forgotten.
      const auto refill =
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(burst / per_second));
      std::erase_if(buckets_, [&](const auto& entry) { return now - entry.second.at >= refill; });
    }
    if (buckets_.size() >= max_sources) return take(crowd_, now);
    found = buckets_.emplace(source, Bucket{burst, now}).first;
  }
  return take(found->second, now);
}

std::chrono::seconds FailedAttempts::wait(const std::string& source, Clock::time_point now) const {
  const auto found = buckets_.find(source);
  const Bucket& bucket = found == buckets_.end() ? crowd_ : found->second;
  const double passed = std::max(0.0, std::chrono::duration<double>(now - bucket.at).count());
  const double missing = std::max(0.0, whole - bucket.left - passed * per_second);
  return std::chrono::ceil<std::chrono::seconds>(std::chrono::duration<double>(missing / per_second));
}

std::string source_of(const http::Peer& peer) {
  if (peer.local) return "uid " + std::to_string(peer.uid);
  const std::string host = peer.address.substr(0, peer.address.rfind(':'));
  if (!host.starts_with('[')) return host;
  in6_addr address{};
  if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) != 1) return host;
  std::fill(address.s6_addr + 8, address.s6_addr + 16, std::uint8_t{0});
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(AF_INET6, &address, text, sizeof text) ? std::string(text) + "/64" : host;
}

}  // namespace hatchd::access
