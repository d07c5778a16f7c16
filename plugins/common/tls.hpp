// TLS as a client. A run is a process of its own, and what OpenSSL sets up when it is first used takes longer than a
// handshake; so a plugin prepares it in the process that its runs are forked from.
#pragma once

#include <openssl/types.h>

namespace common {

// The one context of this process, as OpenSSL makes it: what a connection wants otherwise is set on its SSL (versions, ciphers,
// a certificate, SSL_set1_verify_cert_store(3)). Owned here, never freed; nullptr when OpenSSL cannot make one.
SSL_CTX* tls_client();

// For HATCH_PLUGIN_PREPARED(): makes the context and has it begin a handshake that nobody sees.
void prepare_tls();

// Like X509_STORE_set_default_paths(3), which reads and decodes each of the system's 140 authorities before the first byte
// is sent, longer than the rest of many a run. Where there is a folder of them by hash (openssl-rehash(1); Debian makes
// one), OpenSSL takes from it the one that it needs. SSL_CERT_FILE and SSL_CERT_DIR of the environment hold as ever.
void add_system_authorities(X509_STORE* store);

}  // namespace common
