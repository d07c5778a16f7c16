#include "runs/digest.hpp"

#include <openssl/evp.h>

#include <array>

namespace hatchd::runs {

namespace {

EVP_MD_CTX* of(const auto& context) { return static_cast<EVP_MD_CTX*>(context.get()); }

}  // namespace

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  good_ = context_ && EVP_DigestInit_ex(of(context_), EVP_sha256(), nullptr) == 1;
}

void Sha256::add(std::string_view bytes) {
  good_ = good_ && EVP_DigestUpdate(of(context_), bytes.data(), bytes.size()) == 1;
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned length = 0;
  good_ = good_ && EVP_DigestFinal_ex(of(context_), hash.data(), &length) == 1;
  std::string text;
  if (!good_) return text;
  constexpr char digits[] = "0123456789abcdef";
  for (unsigned i = 0; i < length; ++i) (text += digits[hash[i] >> 4]) += digits[hash[i] & 15];
  good_ = false;
  return text;
}

std::string sha256(std::string_view bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.hex();
}

}  // namespace hatchd::runs
