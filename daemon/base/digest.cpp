#include "base/digest.hpp"

#include <nettle/memops.h>

#include <array>
#include <cstdint>

namespace hatchd {

Sha256::Sha256() { ::sha256_init(&context_); }

void Sha256::add(std::string_view bytes) {
  ::sha256_update(&context_, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

std::string Sha256::hex() {
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> hash{};
  ::sha256_digest(&context_, hash.size(), hash.data());
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : hash) (text += digits[byte >> 4]) += digits[byte & 15];
  return text;
}

std::string sha256(std::string_view bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.hex();
}

bool same_secret(std::string_view one, std::string_view other) {
  return one.size() == other.size() && ::memeql_sec(one.data(), other.data(), one.size()) != 0;
}

}  // namespace hatchd
