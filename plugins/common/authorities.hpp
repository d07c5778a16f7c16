// Whom this system trusts to sign certificates.
#pragma once

#include <openssl/types.h>

namespace common {

// Like SSL_CTX_set_default_verify_paths(3), which reads and decodes each of the system's 140 authorities before the first byte
// is sent, longer than the rest of many a run. Where there is a folder of them by hash (openssl-rehash(1); Debian makes
// one), OpenSSL takes from it the one that it needs. SSL_CERT_FILE and SSL_CERT_DIR of the environment hold as ever.
void add_system_authorities(SSL_CTX* context);

}  // namespace common
