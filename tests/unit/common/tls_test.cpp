#include "common/tls.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "catch.hpp"

namespace {

namespace fs = std::filesystem;

template <auto Free>
struct With {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Store = std::unique_ptr<X509_STORE, With<X509_STORE_free>>;
using Certificate = std::unique_ptr<X509, With<X509_free>>;

// A folder with one authority in it, and the environment that names it.
class Authority {
 public:
  Authority() {
    ::unsetenv("SSL_CERT_FILE");  // it may be set where the tests run
    fs::create_directories(folder);
    const std::unique_ptr<EVP_PKEY, With<EVP_PKEY_free>> key{EVP_EC_gen("P-256")};
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_NAME* name = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("tests"), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), name);
    REQUIRE(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0);
    write(pem);
  }
  ~Authority() {
    ::unsetenv("SSL_CERT_DIR");
    ::unsetenv("SSL_CERT_FILE");
    fs::remove_all(folder);
  }
  Authority(const Authority&) = delete;

  void write(const fs::path& path) const {
    const std::unique_ptr<FILE, With<std::fclose>> file{std::fopen(path.c_str(), "w")};
    REQUIRE(file);
    REQUIRE(PEM_write_X509(file.get(), certificate.get()) == 1);
  }
  std::string hash_link() const {
    char text[16];
    std::snprintf(text, sizeof text, "%08lx.0", X509_NAME_hash_ex(name(), nullptr, nullptr, nullptr));
    return text;
  }
  X509_NAME* name() const { return X509_get_subject_name(certificate.get()); }
  bool is_trusted_by(X509_STORE* store) const {
    const std::unique_ptr<X509_STORE_CTX, With<X509_STORE_CTX_free>> look{X509_STORE_CTX_new()};
    REQUIRE(X509_STORE_CTX_init(look.get(), store, certificate.get(), nullptr) == 1);
    return X509_verify_cert(look.get()) == 1;
  }

  const fs::path folder = fs::temp_directory_path() / ("unit-authorities-" + std::to_string(::getpid()));
  const fs::path pem = folder / "all.pem";
  const Certificate certificate{X509_new()};
};

Store with_system_authorities() {
  Store store{X509_STORE_new()};
  common::add_system_authorities(store.get());
  return store;
}

int read_already(X509_STORE* store) { return sk_X509_OBJECT_num(X509_STORE_get0_objects(store)); }

}  // namespace

TEST_CASE("from a folder by hash an authority is read when it is needed") {
  const Authority authority;
  authority.write(authority.folder / authority.hash_link());
  ::setenv("SSL_CERT_DIR", ("/nowhere:" + authority.folder.string()).c_str(), 1);
  const Store store = with_system_authorities();
  CHECK(read_already(store.get()) == 0);
  CHECK(authority.is_trusted_by(store.get()));
}

TEST_CASE("without such a folder, or where the environment names a file, the file is read") {
  const Authority authority;
  ::setenv("SSL_CERT_FILE", authority.pem.c_str(), 1);
  for (const char* folder : {authority.folder.c_str(), "/nowhere", ""}) {
    ::setenv("SSL_CERT_DIR", folder, 1);
    const Store store = with_system_authorities();
    CHECK(read_already(store.get()) == 1);
    CHECK(authority.is_trusted_by(store.get()));
  }
}

TEST_CASE("who is not among them is not trusted") {
  const Authority authority;
  ::setenv("SSL_CERT_DIR", authority.folder.c_str(), 1);  // all.pem is there, but not by its hash
  const Store store = with_system_authorities();
  CHECK_FALSE(authority.is_trusted_by(store.get()));
}

TEST_CASE("what is prepared for TLS is the context of every connection, and leaves no error behind") {
  ERR_clear_error();
  common::prepare_tls();
  CHECK(ERR_peek_error() == 0);
  SSL_CTX* context = common::tls_client();
  REQUIRE(context);
  common::prepare_tls();
  CHECK(common::tls_client() == context);
}
