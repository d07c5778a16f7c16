// Certificates: what the server showed, and what is wrong with it. The handshake always goes through, since a failing
// certificate is the very thing that one wants to read.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "mail/report.hpp"
#include "mail/settings.hpp"

namespace mail {

// What the verification said on its way; the first fault counts.
struct Verification {
  int error = X509_V_OK, depth = -1;
};

// Trust, and what may be negotiated: also what is out of date, so that it can be shown. False: `trouble` says why.
bool set_up(SSL* ssl, const Server& server, std::string& trouble);

// Records into `seen`, which must outlive the handshake.
void watch(SSL* ssl, Verification& seen);

// After the handshake, whether it succeeded or not.
void describe(SSL* ssl, const std::string& name, const Verification& seen, TlsReport& report);

// Sentences about what is or will soon be a problem.
std::vector<std::string> warnings_of(const TlsReport& report, std::chrono::hours warn_before);

}  // namespace mail
