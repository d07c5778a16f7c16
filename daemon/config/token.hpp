// Bearer tokens: 32 random bytes as text. Only the SHA-256 of the text is kept; with that much randomness a slow hash
// would add nothing.
#pragma once

#include <string>

namespace hatchd::config {

struct MadeToken {
  std::string token;   // "hatchd_" and 43 characters of base64url (RFC 4648, section 5); a secret
  std::string sha256;  // of the whole text, in lower-case hexadecimal
};
MadeToken make_token();

// `hatchd token new NAME --role ROLE`: prints the token once and its entry to paste. With `install` it writes the entry
// to CONFIG.d/50-token-NAME.json and the header for `curl -H @FILE` to token-NAME.header in the current folder instead.
int token_new_command(const std::string& name, const std::string& role, bool install, const std::string& config_file);

}  // namespace hatchd::config
