// SHA-256, also of what comes piece by piece.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace hatchd::runs {

class Sha256 {
 public:
  Sha256();
  void add(std::string_view bytes);
  // 64 hexadecimal digits of what was added; nothing can be added after that. "" when the library failed.
  std::string hex();

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;  // EVP_MD_CTX
  bool good_ = false;
};

std::string sha256(std::string_view bytes);

}  // namespace hatchd::runs
