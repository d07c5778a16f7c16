// What speaks TLS: all of OpenSSL in the daemon, and an object of its own. See tls.hpp.
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <new>

#include "http/tls.hpp"

namespace hatchd::http {
namespace {

// RFC 7301: the one protocol that is spoken here, with its length before it.
constexpr unsigned char http11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

template <auto function>
struct Call {
  template <class T>
  void operator()(T* object) const {
    function(object);
  }
};
using Bio = std::unique_ptr<BIO, Call<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Call<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Call<EVP_PKEY_free>>;

Bio memory(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// The newest of OpenSSL's complaints; the queue is empty afterwards.
std::string complaint() {
  const unsigned long error = ERR_peek_last_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  ERR_clear_error();
  return reason == nullptr ? "no reason is given" : reason;
}

tl::unexpected<Problem> wrong(const char* part, std::string detail) {
  Problem problem{"malformed", std::move(detail)};
  problem.candidates = {part};
  return tl::unexpected(std::move(problem));
}

// Nobody is there to be asked for a passphrase.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned offered_size, void*) {
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(&found, size, http11, sizeof http11, offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

class Session : public Tls {
 public:
  // Keeps the context alive.
  Session(SSL_CTX* context, int socket) : session_(SSL_new(context)) {
    if (!session_ || SSL_set_fd(session_.get(), socket) != 1) throw std::bad_alloc();
    SSL_set_accept_state(session_.get());
  }

  Outcome shake_hands() override {
    ERR_clear_error();
    return judge(SSL_do_handshake(session_.get()));
  }

  Outcome read(char* piece, std::size_t size) override {
    ERR_clear_error();
    return judge(SSL_read(session_.get(), piece, static_cast<int>(size)));
  }

  Outcome write(std::string_view text) override {
    ERR_clear_error();
    return judge(SSL_write(session_.get(), text.data(), static_cast<int>(text.size())));
  }

  void say_goodbye() override {
    if (broken_) return;  // SSL_shutdown(3) forbids it
    ERR_clear_error();
    SSL_shutdown(session_.get());
    ERR_clear_error();
  }

  const std::string& why() const override { return why_; }

 private:
  // SSL_get_error(3) looks at the queue of errors, which must be empty before the call that it judges.
  Outcome judge(int result) {
    switch (SSL_get_error(session_.get(), result)) {
      case SSL_ERROR_NONE: return {Did::moved, static_cast<std::size_t>(result)};
      case SSL_ERROR_WANT_READ: return {Did::wants_read};
      case SSL_ERROR_WANT_WRITE: return {Did::wants_write};
      case SSL_ERROR_ZERO_RETURN: return {Did::ended};
      default: break;
    }
    broken_ = true;
    why_ = complaint();
    return {Did::failed};
  }

  std::unique_ptr<SSL, Call<SSL_free>> session_;
  std::string why_;
  bool broken_ = false;
};

class Context : public TlsContext {
 public:
  explicit Context(SSL_CTX* context) : context_(context) {}

  bool expired() const override { return X509_cmp_current_time(X509_get0_notAfter(certificate())) < 0; }

  std::string valid_until() const override {
    const Bio text(BIO_new(BIO_s_mem()));
    ASN1_TIME_print(text.get(), X509_get0_notAfter(certificate()));
    std::array<char, 64> room{};
    const int size = BIO_read(text.get(), room.data(), static_cast<int>(room.size()));
    return {room.data(), static_cast<std::size_t>(size > 0 ? size : 0)};
  }

  std::unique_ptr<Tls> session(int socket) const override { return std::make_unique<Session>(context_.get(), socket); }

 private:
  const X509* certificate() const { return SSL_CTX_get0_certificate(context_.get()); }

  std::unique_ptr<SSL_CTX, Call<SSL_CTX_free>> context_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) MakeTls hatchd_make_tls;

Result<std::shared_ptr<const TlsContext>> hatchd_make_tls(const std::string& certificate, const std::string& key) {
  ERR_clear_error();
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) throw std::bad_alloc();
  auto made = std::make_shared<const Context>(context);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // TLS 1.2 only with forward secrecy and authenticated encryption; the suites of 1.3 all have both.
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // No table of sessions: clients resume by tickets, which cost no memory here. Idle connections hold no buffers.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);

  const Bio chain = memory(certificate);
  const Certificate first(PEM_read_bio_X509_AUX(chain.get(), nullptr, nullptr, nullptr));
  if (!first) return wrong("certificate", "holds no PEM certificate: " + complaint());
  if (SSL_CTX_use_certificate(context, first.get()) != 1) return wrong("certificate", "cannot be used: " + complaint());
  while (const Certificate next{PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr)})
    if (SSL_CTX_add1_chain_cert(context, next.get()) != 1)
      return wrong("certificate", "has a chain that cannot be used: " + complaint());
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    return wrong("certificate", "has a chain that cannot be read: " + complaint());
  ERR_clear_error();

  bool asked = false;
  const Key secret(PEM_read_bio_PrivateKey(memory(key).get(), nullptr, no_passphrase, &asked));
  if (asked) return wrong("key", "is encrypted, and nobody can be asked for its passphrase: store it without one");
  if (!secret) return wrong("key", "holds no PEM private key: " + complaint());
  if (X509_check_private_key(first.get(), secret.get()) != 1) {
    ERR_clear_error();
    return wrong("key", "does not belong to the certificate");
  }
  if (SSL_CTX_use_PrivateKey(context, secret.get()) != 1) return wrong("key", "cannot be used: " + complaint());
  return made;
}

}  // namespace hatchd::http
