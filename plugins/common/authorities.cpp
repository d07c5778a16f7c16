#include "common/authorities.hpp"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

namespace common {

namespace {

// "5ad8a5d6.0"
bool is_hash_link(const std::string& name) {
  return name.size() == 10 && name.ends_with(".0") &&
         std::all_of(name.begin(), name.begin() + 8, [](unsigned char c) { return std::isxdigit(c); });
}

// Any of the folders of a list with ':', as OpenSSL takes it.
bool has_hash_links(std::string_view folders) {
  while (!folders.empty()) {
    const std::string_view folder = folders.substr(0, folders.find(':'));
    folders.remove_prefix(std::min(folder.size() + 1, folders.size()));
    std::error_code error;
    for (std::filesystem::directory_iterator at{folder, error}, end; !error && at != end; at.increment(error))
      if (is_hash_link(at->path().filename())) return true;
  }
  return false;
}

}  // namespace

void add_system_authorities(SSL_CTX* context) {
  const char* folders = std::getenv(X509_get_default_cert_dir_env());
  SSL_CTX_set_default_verify_dir(context);
  if (std::getenv(X509_get_default_cert_file_env()) || !has_hash_links(folders ? folders : X509_get_default_cert_dir()))
    SSL_CTX_set_default_verify_file(context);
}

}  // namespace common
