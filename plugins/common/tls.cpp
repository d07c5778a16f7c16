#include "common/tls.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
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

SSL_CTX* tls_client() {
  static SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  return context;
}

void prepare_tls() {
  SSL_CTX* context = tls_client();
  if (SSL* ssl = context ? SSL_new(context) : nullptr) {
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_connect(ssl);  // as far as its first message
    SSL_free(ssl);
  }
  ERR_clear_error();
}

void add_system_authorities(X509_STORE* store) {
  const char* folders = std::getenv(X509_get_default_cert_dir_env());
  // As X509_STORE_set_default_paths(3) does: what is not there is no fault.
  X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
  if (lookup) X509_LOOKUP_add_dir(lookup, nullptr, X509_FILETYPE_DEFAULT);
  if (!std::getenv(X509_get_default_cert_file_env()) && has_hash_links(folders ? folders : X509_get_default_cert_dir()))
    return;
  lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup) X509_LOOKUP_load_file(lookup, nullptr, X509_FILETYPE_DEFAULT);
  ERR_clear_error();
}

}  // namespace common
