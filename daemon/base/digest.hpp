// SHA-256, also of what comes piece by piece.
#pragma once

#include <nettle/sha2.h>

#include <string>
#include <string_view>

namespace hatchd {

class Sha256 {
 public:
  Sha256();
  void add(std::string_view bytes);
  // 64 hexadecimal digits of what was added; then it begins anew.
  std::string hex();

 private:
  sha256_ctx context_;
};

std::string sha256(std::string_view bytes);

// Are they the same? How long it takes tells nothing about where they differ.
bool same_secret(std::string_view one, std::string_view other);

}  // namespace hatchd
