#include "http/tls.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>

#include <memory>

#include "catch.hpp"
#include "server.hpp"

using namespace hatchd;
using namespace hatchd::http;
using namespace hatchd::http::test;

namespace {

struct Pem {
  std::string certificate, key;
};

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

// A certificate that signs itself, `days` valid from yesterday on.
Pem self_signed(const char* name, long days = 30, const EVP_CIPHER* cipher = nullptr) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* made = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(made), days * 24 * 3600);
  X509_set_pubkey(made, key);
  X509_NAME* subject = X509_get_subject_name(made);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(made, subject);
  X509_sign(made, key, EVP_sha256());
  BIO* certificate = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate, made);
  BIO* secret = BIO_new(BIO_s_mem());
  char passphrase[] = "swordfish";
  PEM_write_bio_PrivateKey(secret, key, cipher, nullptr, 0, nullptr, cipher ? passphrase : nullptr);
  X509_free(made);
  EVP_PKEY_free(key);
  return {text_of(certificate), text_of(secret)};
}

std::shared_ptr<const TlsContext> context_of(const char* name) {
  const Pem pem = self_signed(name);
  return *TlsContext::make(pem.certificate, pem.key);
}

// A client of TLS over a blocking socket.
class TlsClient {
 public:
  explicit TlsClient(int fd, int highest = TLS1_3_VERSION, const char* protocols = nullptr)
      : fd_(fd), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), session_(nullptr, SSL_free) {
    SSL_CTX_set_security_level(context_.get(), 0);  // so that it may offer what is too old
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), highest);
    session_.reset(SSL_new(context_.get()));
    if (protocols)
      SSL_set_alpn_protos(session_.get(), reinterpret_cast<const unsigned char*>(protocols),
                          static_cast<unsigned>(std::strlen(protocols)));
    const timeval patience{10, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL_set_fd(session_.get(), fd);
  }
  bool connect() { return SSL_connect(session_.get()) == 1; }
  std::string version() { return SSL_get_version(session_.get()); }
  std::string subject() {
    X509* peer = SSL_get1_peer_certificate(session_.get());
    char name[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, name, sizeof name);
    X509_free(peer);
    return name;
  }
  void send(const std::string& text) {
    CHECK(SSL_write(session_.get(), text.data(), static_cast<int>(text.size())) > 0);
  }
  // Until the text ends so, or the connection.
  std::string read_until(std::string_view end) {
    std::string all;
    char piece[16384];
    int got = 0;
    while (!all.ends_with(end) && (got = SSL_read(session_.get(), piece, sizeof piece)) > 0)
      all.append(piece, static_cast<std::size_t>(got));
    return all;
  }
  // The other side said goodbye, so nothing was cut off.
  bool ended_well() {
    char byte;
    const int got = SSL_read(session_.get(), &byte, 1);
    return got <= 0 && SSL_get_error(session_.get(), got) == SSL_ERROR_ZERO_RETURN;
  }

 private:
  UniqueFd fd_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> session_;
};

boost::asio::awaitable<Response> echo(const Request& request) {
  if (request.path == "/large") co_return text_response(200, std::string(3 << 20, 'x') + "end");
  co_return text_response(200, request.method + " " + request.path + (request.peer.tls ? " over TLS " : " ") +
                                   std::to_string(request.body.size()) + "\n");
}

std::string get(const char* path) { return std::string("GET ") + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"; }

const bool no_sigpipe =
    ::signal(SIGPIPE, SIG_IGN) != SIG_ERR;  // as the front does: OpenSSL writes without MSG_NOSIGNAL

}  // namespace

TEST_CASE("certificates and keys that cannot be used say which of the two is wrong") {
  const Pem good = self_signed("one"), other = self_signed("two");
  const Pem locked = self_signed("three", 30, EVP_aes_256_cbc());
  const auto refusal = [](const std::string& certificate, const std::string& key) {
    const auto made = TlsContext::make(certificate, key);
    return made ? std::string("fine") : made.error().candidates.at(0) + " " + made.error().detail;
  };
  CHECK(refusal(good.certificate, good.key) == "fine");
  CHECK(refusal(good.certificate + other.certificate, good.key) == "fine");  // a chain
  CHECK(refusal("", good.key).starts_with("certificate holds no PEM certificate"));
  CHECK(refusal(good.key, good.key).starts_with("certificate holds no PEM certificate"));
  CHECK(refusal(good.certificate + "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", good.key)
            .starts_with("certificate has a chain that cannot be read"));
  CHECK(refusal(good.certificate, good.certificate).starts_with("key holds no PEM private key"));
  CHECK(refusal(good.certificate, other.key) == "key does not belong to the certificate");
  CHECK(refusal(locked.certificate, locked.key).starts_with("key is encrypted"));
}

TEST_CASE("a certificate says until when it is valid") {
  const Pem fresh = self_signed("fresh"), old = self_signed("old", 0);
  const auto good = TlsContext::make(fresh.certificate, fresh.key), bad = TlsContext::make(old.certificate, old.key);
  REQUIRE(good);
  REQUIRE(bad);
  CHECK_FALSE((*good)->expired());
  CHECK((*good)->valid_until().ends_with("GMT"));
  CHECK((*bad)->expired());
}

TEST_CASE("requests over TLS: kept connections, bodies, and answers larger than any buffer") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Server server(echo);
    TlsClient client(server.connect_tls(context_of("here")), version);
    REQUIRE(client.connect());
    CHECK(client.version() == (version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3"));
    client.send(get("/a") + get("/b"));  // in one record
    std::string both = client.read_until("GET /b over TLS 0\n");
    CHECK(both.find("GET /a over TLS 0\n") != both.npos);
    client.send("POST /c HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" +
                std::string(100'000, 'y'));
    CHECK(client.read_until("POST /c over TLS 100000\n").ends_with("POST /c over TLS 100000\n"));
    client.send(get("/large"));
    CHECK(client.read_until("xend").size() > (3 << 20));
    client.send("GET /d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    CHECK(client.read_until("GET /d over TLS 0\n").ends_with("GET /d over TLS 0\n"));
    CHECK(client.ended_well());
  }
}

TEST_CASE("what is too old or speaks another protocol gets no connection") {
  Server server(echo);
  const auto context = context_of("here");
  CHECK_FALSE(TlsClient(server.connect_tls(context), TLS1_1_VERSION).connect());
  CHECK_FALSE(TlsClient(server.connect_tls(context), TLS1_3_VERSION, "\x02h2").connect());
  CHECK(TlsClient(server.connect_tls(context), TLS1_3_VERSION, "\x02h2\x08http/1.1").connect());
}

TEST_CASE("plain HTTP to a port of TLS is told so, anything else is closed") {
  Server server(echo);
  const auto context = context_of("here");
  Client plain{server.connect_tls(context)};
  const Reply reply = plain.get("/v1/hatches").read();
  CHECK(reply.status == 400);
  CHECK(reply.body.find("https://") != reply.body.npos);
  CHECK(plain.closes());
  Client noise{server.connect_tls(context)};
  CHECK(noise.send(std::string("\x01\x02\x03", 3)).closes());
  Client broken{server.connect_tls(context)};
  broken.send(std::string("\x16\x03\x01\x00\x05hello", 10));
  broken.read_rest();  // an alert, perhaps
  CHECK(broken.closes());
  TlsClient well(server.connect_tls(context));
  CHECK(well.connect());
}

TEST_CASE("who does not finish the handshake is ended, however it drips") {
  Limits limits;
  limits.handshake_time = 200ms;
  limits.header_time = 60s;
  Server server(echo, limits);
  const auto context = context_of("here");
  Client silent{server.connect_tls(context)};
  CHECK(silent.closes());
  Client half{server.connect_tls(context)};
  CHECK(half.send(std::string("\x16\x03\x01\x02\x00\x01", 6)).closes());
}

TEST_CASE("a new certificate is for new connections, and old ones go on") {
  Server server(echo);
  TlsClient before(server.connect_tls(context_of("old")));
  REQUIRE(before.connect());
  CHECK(before.subject() == "old");
  TlsClient after(server.connect_tls(context_of("new")));
  REQUIRE(after.connect());
  CHECK(after.subject() == "new");
  before.send(get("/a"));
  CHECK(before.read_until("GET /a over TLS 0\n").ends_with("GET /a over TLS 0\n"));
}
