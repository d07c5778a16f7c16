#include "http/tls.hpp"

#include <dlfcn.h>

#include "base/program.hpp"

namespace hatchd::http {
namespace {

// Never closed: sessions and contexts are its code.
Result<MakeTls*> opened() {
  static MakeTls* known = nullptr;  // where it lies may be out of reach by now
  if (known != nullptr) return known;
  const auto file = own_part("hatchd-tls.so");
  if (!file) return tl::unexpected(file.error());
  void* object = ::dlopen(file->c_str(), RTLD_NOW | RTLD_LOCAL);
  void* made = object == nullptr ? nullptr : ::dlsym(object, tls_symbol);
  if (made == nullptr)
    return refuse("internal", ::dlerror(), "install hatchd whole, with the OpenSSL that it was built for");
  return known = reinterpret_cast<MakeTls*>(made);
}

}  // namespace

Result<void> open_tls() {
  if (const auto make = opened(); !make) return tl::unexpected(make.error());
  return {};
}

Result<std::shared_ptr<const TlsContext>> TlsContext::make(const std::string& certificate, const std::string& key) {
  const auto make = opened();
  if (make) return (**make)(certificate, key);
  // Without it no certificate can be used.
  Problem problem{"internal", make.error().detail + "; " + make.error().remedy};
  problem.candidates = {"certificate"};
  return tl::unexpected(std::move(problem));
}

}  // namespace hatchd::http
