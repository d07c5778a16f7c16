// SPDX-License-Identifier: MIT
#include "names.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace hatch::masking {
namespace {

constexpr std::size_t max_name = 128, max_words = 16;

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_upper(c) || is_lower(c) || is_digit(c); }
char lower(char c) { return is_upper(c) ? static_cast<char>(c + 32) : c; }

template <std::size_t N>
bool in(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

// Words in lower case without trailing digits: "APIKey2" is "api", "key".
struct Words {
  std::array<std::string_view, max_words> at;
  std::size_t count = 0;
  std::string text;

  explicit Words(std::string_view name) {
    if (name.size() > max_name) name.remove_prefix(name.size() - max_name);
    text.reserve(name.size());
    std::array<std::pair<std::size_t, std::size_t>, max_words> places;
    std::size_t begin = 0;
    const auto close = [&] {
      std::size_t end = text.size();
      while (end > begin && is_digit(text[end - 1])) --end;
      if (end > begin) {
        if (count == max_words) {  // the last ones count
          std::move(places.begin() + 1, places.end(), places.begin());
          --count;
        }
        places[count++] = {begin, end - begin};
      }
      begin = text.size();
    };
    for (std::size_t i = 0; i < name.size(); ++i) {
      const char c = name[i];
      if (!is_alnum(c)) {
        close();
        continue;
      }
      const bool after_lower = i > 0 && (is_lower(name[i - 1]) || is_digit(name[i - 1]));
      const bool before_lower = i + 1 < name.size() && is_lower(name[i + 1]);
      // "APIKey": the K begins a word, because a lower letter follows; "dbPassword": because one came before. A plural
      // "APIs" does not count.
      if (is_upper(c) && i > 0 && (after_lower || (is_upper(name[i - 1]) && before_lower))) close();
      text += lower(c);
    }
    close();
    for (std::size_t i = 0; i < count; ++i) at[i] = std::string_view(text).substr(places[i].first, places[i].second);
  }
};

// The value is not the secret but something about it.
constexpr std::array<std::string_view, 116> about_it{
    "age",      "alg",      "algo",       "algorithm", "attempts",   "audience",  "backend", "bits",     "bucket",
    "budget",   "cache",    "chars",      "class",     "column",     "config",    "count",   "counter",  "counts",
    "decoder",  "digits",   "dir",        "directory", "disabled",   "domain",    "enabled", "encoder",  "encoding",
    "endpoint", "engine",   "error",      "errors",    "expiration", "expire",    "expired", "expires",  "expiry",
    "field",    "fields",   "file",       "filename",  "files",      "folder",    "format",  "from",     "handler",
    "hasher",   "hashers",  "header",     "headers",   "host",       "hostname",  "id",      "ids",      "index",
    "interval", "issuer",   "iterations", "kind",      "label",      "len",       "length",  "lifetime", "limit",
    "limits",   "location", "manager",    "max",       "method",     "min",       "minute",  "mode",     "mount",
    "name",     "names",    "number",     "offset",    "param",      "parameter", "parser",  "path",     "paths",
    "per",      "policy",   "port",       "position",  "prefix",     "provider",  "rate",    "reason",   "regex",
    "required", "reset",    "rotation",   "rounds",    "samesite",   "scheme",    "scope",   "scopes",   "second",
    "seconds",  "service",  "size",       "source",    "state",      "status",    "store",   "strategy", "suffix",
    "timeout",  "ttl",      "type",       "types",     "uri",        "url",       "usage",   "used",
};
constexpr std::array<std::string_view, 8> about_it_too{"validator", "validators", "valid",  "version",
                                                       "window",    "httponly",   "secure", "secured"};

// What makes a key secret: "api_key"; not "primary_key", "routing_key".
constexpr std::array<std::string_view, 34> of_secret_key{
    "access",  "account",    "admin",     "api",     "app",        "application", "auth",   "cipher",    "crypto",
    "decrypt", "decryption", "deploy",    "encrypt", "encryption", "hmac",        "ingest", "ingestion", "integration",
    "jwt",     "licence",    "license",   "master",  "private",    "root",        "secret", "service",   "session",
    "shared",  "sign",       "signature", "signing", "ssh",        "storage",     "webhook"};
constexpr std::array<std::string_view, 28> of_public_key{
    "cache",       "column",    "dedup",   "foreign",     "group",   "hash",    "host",
    "idempotency", "index",     "lookup",  "map",         "message", "natural", "object",
    "on",          "partition", "primary", "public",      "pubkey",  "range",   "routing",
    "row",         "shard",     "sort",    "translation", "unique",  "binding", "trusted"};
constexpr std::array<std::string_view, 7> glued_keys{"apikey",     "accesskey",     "privatekey", "secretkey",
                                                     "signingkey", "encryptionkey", "masterkey"};
constexpr std::array<std::string_view, 12> secret_at_the_end{
    "pass", "dsn", "cookie", "cookies", "jwt", "otp", "totp", "cred", "authorization", "creds", "apitoken", "pw"};
constexpr std::array<std::string_view, 14> maybe_at_the_end{"key",  "keys",     "auth",   "sig",      "signature",
                                                            "sas",  "session",  "sid",    "pin",      "ticket",
                                                            "seed", "mnemonic", "bearer", "sessionid"};

bool has(std::string_view word, std::string_view part) { return word.find(part) != word.npos; }

bool is_path(std::string_view value) {
  return value.starts_with('/') && value.find('/', 1) != value.npos && value.find_first_of(" +=") == value.npos;
}

bool is_number(std::string_view value) {
  return value.size() <= 16 && value.find_first_not_of("0123456789.,_+-") == value.npos;
}

}  // namespace

Says says(std::string_view name) {
  const Words words(name);
  if (words.count == 0) return Says::nothing;
  const std::string_view last = words.at[words.count - 1];
  const std::string_view before = words.count > 1 ? words.at[words.count - 2] : std::string_view{};
  if (last == "id" && before == "secret") return Says::secret;  // Vault's half of a login
  if (in(about_it, last) || in(about_it_too, last)) return Says::nothing;

  Says found = Says::nothing;
  for (std::size_t i = 0; i < words.count; ++i) {
    const std::string_view word = words.at[i];
    if (has(word, "passw") || has(word, "passphrase") || has(word, "passcode") || has(word, "credential") ||
        (has(word, "secret") && !has(word, "secretar")))
      return Says::everything;
    for (const std::string_view key : glued_keys)
      if (has(word, key)) return Says::secret;
    const bool key = word == "key" || word == "keys";
    if (key && i > 0 && in(of_secret_key, words.at[i - 1])) return Says::secret;
    if (word.ends_with("token") || word.ends_with("tokens")) found = Says::token;
  }
  if (found != Says::nothing) return found;
  if (last == "auth" && before == "rediscli") return Says::secret;  // redis-cli's variable
  if (in(secret_at_the_end, last) || last.ends_with("pwd") || last.ends_with("dsn")) return Says::secret;
  if (in(maybe_at_the_end, last) && !in(of_public_key, before)) return Says::maybe;
  return Says::nothing;
}

bool has_scheme(std::string_view name) {
  constexpr std::string_view header = "authorization";
  if (name.size() < header.size()) return false;
  name.remove_prefix(name.size() - header.size());
  return std::equal(name.begin(), name.end(), header.begin(), [](char a, char b) { return lower(a) == b; });
}

bool is_secret_header(std::string_view name) {
  std::string plain;
  if (name.size() > 32) return false;
  for (const char c : name) plain += lower(c);
  return has_scheme(plain) || plain == "cookie" || plain == "set-cookie";
}

bool is_harmless(Says says, std::string_view name, std::string_view value) {
  if (value.empty()) return true;
  if (value.size() <= 9) {
    std::string plain;
    for (const char c : value) plain += lower(c);
    constexpr std::array<std::string_view, 12> nothing{"true", "false", "yes",  "no",        "on",    "off",
                                                       "null", "nil",   "none", "undefined", "true,", "\"\""};
    if (in(nothing, plain)) return true;
  }
  if (value.find_first_not_of('*') == value.npos) return true;
  if (value.starts_with("${") && value.find('}') == value.size() - 1) return true;
  if (says == Says::token && is_number(value)) return true;
  const Words words(name);
  const std::string_view last = words.count == 0 ? std::string_view{} : words.at[words.count - 1];
  if (has(last, "credential") && is_path(value)) return true;                      // GOOGLE_APPLICATION_CREDENTIALS
  if ((last == "pwd" || last == "oldpwd") && value.starts_with('/')) return true;  // where a shell is
  if (last == "pass" && words.count == 1 && is_number(value)) return true;         // "pass=12 fail=0"
  if (last == "dsn" && value.size() <= 9 && is_number(value)) return true;         // "dsn=2.0.0", a delivery status
  return false;
}

bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = pattern.npos, back = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      back = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || lower(pattern[p]) == lower(text[t]))) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++back;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace hatch::masking
