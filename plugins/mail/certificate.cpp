#include "mail/certificate.hpp"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>

#include "common/tls.hpp"
#include "hatch/json.hpp"
#include "mail/resolve.hpp"
#include "mail/text.hpp"

namespace mail {
namespace {

constexpr std::size_t max_text = 300, max_names = 50;
constexpr int max_chain = 10;

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, BioFree>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? bounded(hatch::printable({data, static_cast<std::size_t>(size)}), max_text) : std::string{};
}

std::string name_text(const X509_NAME* name) {
  const Bio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), name, 0, (XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) | ASN1_STRFLGS_ESC_CTRL);
  return text_of(bio.get());
}

std::string time_text(const ASN1_TIME* time) {
  std::tm parts{};
  char text[32] = "?";
  if (ASN1_TIME_to_tm(time, &parts) == 1) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string hex(const unsigned char* bytes, std::size_t size) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    out += digits[bytes[i] >> 4];
    out += digits[bytes[i] & 15];
  }
  return out;
}

std::string key_text(X509* certificate) {
  EVP_PKEY* key = X509_get0_pubkey(certificate);
  if (!key) return "unknown";
  const char* type = EVP_PKEY_get0_type_name(key);
  return std::string(type ? type : "unknown") + " " + std::to_string(EVP_PKEY_get_bits(key));
}

std::vector<std::string> alternative_names(X509* certificate) {
  std::vector<std::string> all;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names) && all.size() < max_names; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                                  static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
      all.push_back(bounded(hatch::printable(text), max_text));
    } else if (name->type == GEN_IPADD) {
      char text[INET6_ADDRSTRLEN] = "?";
      const int size = ASN1_STRING_length(name->d.iPAddress);
      if (size == 4 || size == 16)
        ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text);
      all.emplace_back(text);
    }
  }
  GENERAL_NAMES_free(names);
  return all;
}

Certificate certificate_of(X509* from) {
  Certificate to;
  to.subject = name_text(X509_get_subject_name(from));
  to.issuer = name_text(X509_get_issuer_name(from));
  to.names = alternative_names(from);
  to.key = key_text(from);
  const int signature = X509_get_signature_nid(from);
  const char* algorithm = OBJ_nid2ln(signature);
  to.signature = signature == NID_undef || !algorithm ? "unknown" : algorithm;
  const ASN1_INTEGER* serial = X509_get0_serialNumber(from);
  to.serial = bounded(hex(ASN1_STRING_get0_data(serial), static_cast<std::size_t>(ASN1_STRING_length(serial))), 64);
  to.not_before = time_text(X509_get0_notBefore(from));
  to.not_after = time_text(X509_get0_notAfter(from));
  int days = 0, seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(from)) == 1)
    to.days_left = days - (seconds < 0 ? 1 : 0);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(from, EVP_sha256(), digest, &size) == 1) to.sha256 = hex(digest, size);
  to.self_signed = (X509_get_extension_flags(from) & EXFLAG_SS) != 0;
  return to;
}

// RFC 9525: the names of the extension alone; a wildcard is a whole leftmost label.
void check_name(X509* leaf, const std::string& name, TlsReport& report) {
  if (is_ip(name)) {
    report.name_ok = X509_check_ip_asc(leaf, name.c_str(), 0) == 1;
    if (report.name_ok) report.matched_name = name;
    return;
  }
  char* matched = nullptr;
  const unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  report.name_ok = X509_check_host(leaf, name.data(), name.size(), flags, &matched) == 1;
  if (matched) report.matched_name = bounded(hatch::printable(matched), max_text);
  OPENSSL_free(matched);
}

int index_of_verification() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

int on_certificate(int ok, X509_STORE_CTX* store) {
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* seen = static_cast<Verification*>(SSL_get_ex_data(ssl, index_of_verification()));
  if (!ok && seen && seen->error == X509_V_OK) {
    seen->error = X509_STORE_CTX_get_error(store);
    seen->depth = X509_STORE_CTX_get_error_depth(store);
  }
  return 1;
}

std::string names_text(const Certificate& certificate) {
  std::string text;
  for (const std::string& name : certificate.names) (text += text.empty() ? "" : ", ") += name;
  return text.empty() ? "no name at all" : bounded(text, max_text);
}

}  // namespace

bool set_up(SSL* ssl, const Server& server, std::string& trouble) {
  SSL_set_min_proto_version(ssl, TLS1_VERSION);
  SSL_set_cipher_list(ssl, "DEFAULT:@SECLEVEL=0");
  X509_STORE* trusted = X509_STORE_new();
  SSL_set0_verify_cert_store(ssl, trusted);
  common::add_system_authorities(trusted);
  if (!server.ca.empty() && X509_STORE_load_file(trusted, server.ca.c_str()) != 1) {
    const int error = ::access(server.ca.c_str(), R_OK) == 0 ? 0 : errno;
    trouble =
        "the profile's ca " + server.ca +
        (error ? std::string(" cannot be read: ") + std::strerror(error) : std::string(" holds no certificate in PEM"));
    return false;
  }
  return true;
}

void watch(SSL* ssl, Verification& seen) {
  SSL_set_ex_data(ssl, index_of_verification(), &seen);
  SSL_set_verify(ssl, SSL_VERIFY_PEER, on_certificate);
}

void describe(SSL* ssl, const std::string& name, const Verification& seen, TlsReport& report) {
  SSL_set_ex_data(ssl, index_of_verification(), nullptr);
  if (SSL_is_init_finished(ssl)) {
    report.version = SSL_get_version(ssl);
    const char* cipher = SSL_get_cipher_name(ssl);
    report.cipher = cipher ? cipher : "";
    if (const long group = SSL_get_negotiated_group(ssl); group > 0)
      if (const char* text = OBJ_nid2sn(static_cast<int>(group & 0xFFFFFF))) report.group = text;
  }
  const unsigned char* staple = nullptr;
  report.stapled = SSL_get_tlsext_status_ocsp_resp(ssl, &staple) > 0;
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; i < sk_X509_num(chain) && i < max_chain; ++i)
    report.chain.push_back(certificate_of(sk_X509_value(chain, i)));
  if (report.chain.empty()) {
    report.error = "the server showed no certificate";
    return;
  }
  check_name(sk_X509_value(chain, 0), name, report);
  report.error_depth = seen.depth;
  if (seen.error != X509_V_OK) {
    report.error = X509_verify_cert_error_string(seen.error);
    const bool no_issuer = seen.error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
                           seen.error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
    report.incomplete = no_issuer && !report.chain.back().self_signed;
  } else if (!report.name_ok) {
    report.error = "the certificate is for " + names_text(report.chain.front()) + ", not for " + name;
    report.error_depth = 0;
  }
  report.verified = seen.error == X509_V_OK && report.name_ok;
  if (STACK_OF(X509)* verified = SSL_get0_verified_chain(ssl); report.verified && sk_X509_num(verified) > 0)
    report.trusted_root = name_text(X509_get_subject_name(sk_X509_value(verified, sk_X509_num(verified) - 1)));
}

std::vector<std::string> warnings_of(const TlsReport& report, std::chrono::hours warn_before) {
  std::vector<std::string> all;
  const auto soon = std::chrono::duration_cast<std::chrono::hours>(warn_before).count() / 24;
  for (const Certificate& certificate : report.chain) {
    if (certificate.days_left >= 0 && certificate.days_left < soon)
      all.push_back("the certificate of " + certificate.subject + " ends in " + std::to_string(certificate.days_left) +
                    (certificate.days_left == 1 ? " day" : " days"));
    if (certificate.key.starts_with("RSA ") && std::stoi(certificate.key.substr(4)) < 2048)
      all.push_back("the key of " + certificate.subject + " is short: " + certificate.key);
    if (!certificate.self_signed && lower(certificate.signature).find("sha1") != std::string::npos)
      all.push_back("the certificate of " + certificate.subject + " is signed with SHA-1");
  }
  if (report.version == "TLSv1" || report.version == "TLSv1.1")
    all.push_back("the server speaks " + report.version + ", which is out of date");
  if (!report.verified && !report.error.empty()) all.push_back("the certificate does not verify: " + report.error);
  return all;
}

}  // namespace mail
