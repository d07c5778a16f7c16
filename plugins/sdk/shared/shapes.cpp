// SPDX-License-Identifier: MIT
#include "shapes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace hatch::masking {
namespace {

constexpr bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alnum(char c) { return is_upper(c) || is_lower(c) || is_digit(c); }
constexpr bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
constexpr bool is_lower_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }
constexpr bool is_upper_alnum(char c) { return is_upper(c) || is_digit(c); }
constexpr bool is_word(char c) { return is_alnum(c) || c == '_'; }
constexpr bool is_url64(char c) { return is_word(c) || c == '-'; }
constexpr bool is_dotted(char c) { return is_url64(c) || c == '.'; }
constexpr bool is_base64(char c) { return is_alnum(c) || c == '+' || c == '/' || c == '='; }

struct Shape {
  std::string_view prefix;
  bool (*body)(char);
  std::size_t min, max;  // of the body; max 0: any length
  bool mixed = false;    // a digit, a capital and a small letter are in it: what else begins so is a name
};

// In the order of their prefixes' first bytes, which token_at() looks up.
constexpr Shape shapes[] = {
    {"ABIA", is_upper_alnum, 16, 16},  // AWS: ids of keys; the key itself is random or named
    {"ACCA", is_upper_alnum, 16, 16},
    {"AGE-SECRET-KEY-1", is_upper_alnum, 50, 0},
    {"AGPA", is_upper_alnum, 16, 16},
    {"AIDA", is_upper_alnum, 16, 16},
    {"AIza", is_url64, 35, 40},  // Google
    {"AKIA", is_upper_alnum, 16, 16},
    {"ANPA", is_upper_alnum, 16, 16},
    {"AROA", is_upper_alnum, 16, 16},
    {"ASIA", is_upper_alnum, 16, 16},
    {"ATATT3", is_base64, 50, 400, true},  // Atlassian
    {"ATCTT3", is_base64, 50, 400, true},
    {"GOCSPX-", is_url64, 20, 0},  // Google
    {"NRAK-", is_upper_alnum, 27, 27},
    {"PMAK-", is_url64, 32, 0},
    {"SG.", is_dotted, 40, 0, true},  // SendGrid
    {"SK", is_lower_hex, 32, 32},     // Twilio
    {"dapi", is_lower_hex, 32, 34},   // Databricks
    {"dckr_pat_", is_url64, 20, 0},
    {"doo_v1_", is_lower_hex, 64, 64},  // DigitalOcean
    {"dop_v1_", is_lower_hex, 64, 64},
    {"dor_v1_", is_lower_hex, 64, 64},
    {"dp.pt.", is_alnum, 40, 0},
    {"figd_", is_url64, 32, 0},
    {"gho_", is_alnum, 36, 0},  // GitHub
    {"ghp_", is_alnum, 36, 0},
    {"ghr_", is_alnum, 36, 0},
    {"ghs_", is_dotted, 36, 0},
    {"ghu_", is_alnum, 36, 0},
    {"github_pat_", is_word, 22, 0, true},
    {"glagent-", is_dotted, 20, 0},  // GitLab
    {"glcbt-", is_dotted, 20, 0},
    {"glc_", is_base64, 32, 0},  // Grafana
    {"gldt-", is_dotted, 20, 0},
    {"glft-", is_dotted, 20, 0},
    {"glimt-", is_dotted, 20, 0},
    {"gloas-", is_dotted, 20, 0},
    {"glpat-", is_dotted, 20, 0},
    {"glptt-", is_dotted, 20, 0},
    {"glrt-", is_dotted, 20, 0},
    {"glsa_", is_word, 32, 0},
    {"glsoat-", is_dotted, 20, 0},
    {"hatchd_", is_url64, 40, 0, true},
    {"hf_", is_alnum, 30, 0, true},
    {"hvb.", is_url64, 24, 0, true},  // Vault
    {"hvr.", is_url64, 24, 0, true},
    {"hvs.", is_url64, 24, 0, true},
    {"lin_api_", is_alnum, 32, 0},
    {"npm_", is_alnum, 36, 36},
    {"pypi-Ag", is_url64, 50, 0},
    {"rk_live_", is_alnum, 16, 0},  // Stripe
    {"rk_test_", is_alnum, 16, 0},
    {"rubygems_", is_lower_hex, 48, 48},
    {"shpat_", is_hex, 32, 0},  // Shopify
    {"shpca_", is_hex, 32, 0},
    {"shppa_", is_hex, 32, 0},
    {"shpss_", is_hex, 32, 0},
    {"sk-", is_url64, 32, 0, true},  // OpenAI, Anthropic
    {"sk_live_", is_alnum, 16, 0},
    {"sk_test_", is_alnum, 16, 0},
    {"sq0atp-", is_url64, 22, 0},
    {"sq0csp-", is_url64, 22, 0},
    {"tskey-", is_url64, 20, 0},
    {"whsec_", is_base64, 24, 0},
    {"xapp-", is_url64, 20, 0},  // Slack
    {"xkeysib-", is_url64, 64, 0},
    {"xoxa-", is_url64, 10, 0},
    {"xoxb-", is_url64, 10, 0},
    {"xoxc-", is_url64, 10, 0},
    {"xoxd-", is_dotted, 10, 0},
    {"xoxe-", is_dotted, 10, 0},
    {"xoxe.", is_dotted, 10, 0},
    {"xoxp-", is_url64, 10, 0},
    {"xoxr-", is_url64, 10, 0},
    {"xoxs-", is_url64, 10, 0},
    {"ya29.", is_dotted, 20, 0},  // Google
};
static_assert(std::is_sorted(std::begin(shapes), std::end(shapes),
                             [](const Shape& a, const Shape& b) { return a.prefix[0] < b.prefix[0]; }),
              "token_at() looks up the first byte");

// The shapes that begin with a byte: [first[c], first[c + 1]).
constexpr auto first = [] {
  std::array<std::uint8_t, 129> begin{};
  std::size_t at = 0;
  for (std::size_t c = 0; c < begin.size(); ++c) {
    while (at < std::size(shapes) && static_cast<std::size_t>(shapes[at].prefix[0]) < c) ++at;
    begin[c] = static_cast<std::uint8_t>(at);
  }
  return begin;
}();

struct Kinds {
  std::size_t upper = 0, lower = 0, digit = 0;
  explicit Kinds(std::string_view text) {
    for (const char c : text) {
      upper += is_upper(c);
      lower += is_lower(c);
      digit += is_digit(c);
    }
  }
};

template <class Is>
std::size_t length(std::string_view text, Is is) {
  std::size_t size = 0;
  while (size < text.size() && is(text[size])) ++size;
  return size;
}

// What ends a sentence and not the word.
std::size_t trailing(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && (text[text.size() - 1 - count] == '.' || text[text.size() - 1 - count] == ',')) ++count;
  return count;
}

// Three words of base64url, the first and the second a JSON object: a JSON Web Token (RFC 7519); five of them where it
// is encrypted.
std::size_t jwt_at(std::string_view text) {
  const std::size_t header = length(text, is_url64);
  if (header < 10 || header >= text.size() || text[header] != '.') return 0;
  std::size_t end = header + 1;
  const std::size_t body = length(text.substr(end), is_url64);
  if (body < 4 || end + body >= text.size() || text[end + body] != '.') return 0;
  end += body + 1;
  end += length(text.substr(end), is_dotted);
  return end - trailing(text.substr(0, end));
}

// "123456789:AA" and 33 more: a Telegram bot.
std::size_t bot_at(std::string_view text) {
  const std::size_t id = length(text.substr(0, 11), is_digit);
  if (id < 8 || id > 10 || !text.substr(id).starts_with(":AA")) return 0;
  const std::size_t body = length(text.substr(id + 1, 40), is_url64);
  return body == 35 ? id + 1 + body : 0;
}

double entropy(std::string_view text) {
  std::array<std::uint32_t, 128> counts{};
  for (const char c : text) ++counts[static_cast<unsigned char>(c) & 127];
  double bits = 0;
  const auto all = static_cast<double>(text.size());
  for (const std::uint32_t count : counts)
    if (count > 0) bits -= count / all * std::log2(count / all);
  return bits;
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hex(text[i])) return false;
  }
  return true;
}

}  // namespace

bool is_word_byte(char c) { return is_word(c); }
bool is_base64_digit(char c) { return is_alnum(c) || c == '+' || c == '/'; }

std::size_t token_at(std::string_view text, char before) {
  const auto byte = static_cast<unsigned char>(text[0]);
  if (byte >= 128) return 0;
  // A word that goes on over '-' and '.' is read to its end once, not again from each of its parts.
  const bool within = before == '-' || before == '.';
  if (is_digit(text[0])) return bot_at(text);
  for (std::size_t i = first[byte]; i < first[byte + 1u]; ++i) {
    const Shape& shape = shapes[i];
    if (!text.starts_with(shape.prefix)) continue;
    if (within && (shape.body == is_url64 || shape.body == is_dotted)) continue;
    const std::string_view rest = text.substr(shape.prefix.size());
    std::size_t size = 0;
    while (size < rest.size() && shape.body(rest[size]) && (shape.max == 0 || size <= shape.max)) ++size;
    size -= trailing(rest.substr(0, size));
    if (size < shape.min || (shape.max != 0 && size > shape.max)) continue;
    const Kinds kinds(rest.substr(0, size));
    if (shape.mixed && (kinds.digit == 0 || kinds.upper == 0 || kinds.lower == 0)) continue;
    if (shape.body == is_upper_alnum && kinds.digit == 0) continue;
    return shape.prefix.size() + size;
  }
  if (!within && text.starts_with("eyJ")) return jwt_at(text);
  return 0;
}

std::size_t crypt_hash_at(std::string_view text) {
  // "$id$salt$hash": crypt(5), argon2, scrypt, pbkdf2 of passlib.
  const std::size_t id = 1 + length(text.substr(1, 20), [](char c) { return is_alnum(c) || c == '-' || c == '_'; });
  if (id < 2 || id >= text.size() || text[id] != '$') return 0;
  const std::string_view name = text.substr(1, id - 1);
  constexpr std::string_view known[] = {"1",
                                        "2a",
                                        "2b",
                                        "2x",
                                        "2y",
                                        "5",
                                        "6",
                                        "7",
                                        "y",
                                        "gy",
                                        "apr1",
                                        "argon2d",
                                        "argon2i",
                                        "argon2id",
                                        "scrypt",
                                        "pbkdf2",
                                        "pbkdf2-sha256",
                                        "pbkdf2-sha512"};
  if (std::find(std::begin(known), std::end(known), name) == std::end(known)) return 0;
  std::size_t size =
      length(text, [](char c) { return is_base64(c) || c == '$' || c == '.' || c == ',' || c == '-' || c == '_'; });
  size -= trailing(text.substr(0, size));
  return size >= 20 ? size : 0;
}

std::size_t hook_path_in(std::string_view url) {
  constexpr std::string_view whole[] = {"hooks.slack.com/services/",        "hooks.slack.com/workflows/",
                                        "hooks.slack.com/triggers/",        "discord.com/api/webhooks/",
                                        "discordapp.com/api/webhooks/",     "ptb.discord.com/api/webhooks/",
                                        "canary.discord.com/api/webhooks/", "outlook.office.com/webhook/",
                                        "hooks.zapier.com/hooks/catch/",    "chat.googleapis.com/v1/spaces/"};
  for (const std::string_view begin : whole)
    if (url.starts_with(begin)) return begin.size();
  constexpr std::string_view teams = ".webhook.office.com/webhookb2/";
  if (const std::size_t at = url.substr(0, 64 + teams.size()).find(teams); at != url.npos) return at + teams.size();
  return 0;
}

std::size_t run_at(std::string_view text) {
  std::size_t size = length(text, [](char c) { return is_url64(c) || c == '+' || c == '/'; });
  while (size < text.size() && text[size] == '=' && size > 0) ++size;
  return size;
}

bool is_random(std::string_view run) {
  while (run.ends_with('=')) run.remove_suffix(1);
  if (run.size() < 32 || run.size() > 16384) return false;
  // Symbols of C++, Rust, Swift and D; public keys of SSH; paths.
  for (const std::string_view prefix :
       {"_Z", "__Z", "_R", "_D", "$s", "AAAAB3NzaC1", "AAAAC3NzaC1", "AAAAE2VjZHNh", "/"})
    if (run.starts_with(prefix)) return false;
  const Kinds kinds(run);
  const std::size_t size = run.size();
  if (kinds.upper < 4 || kinds.lower < 4 || kinds.digit < 2) return false;
  // Words of a language have long runs of small letters, and few capitals; chance has neither. Of base64 digits 26 in 64
  // are small letters, so their runs are 1.7 long on the average.
  std::size_t runs = 0, longest = 0, current = 0, separators = 0;
  for (std::size_t i = 0; i < size; ++i) {
    separators += run[i] == '/' || run[i] == '-' || run[i] == '_' || run[i] == '+';
    current = is_lower(run[i]) ? current + 1 : 0;
    runs += current == 1;
    longest = std::max(longest, current);
  }
  const double mean = static_cast<double>(kinds.lower) / static_cast<double>(runs);
  if (mean > 2.6 || longest > 8) return false;
  if (separators * 6 > size) return false;
  // 4.25 bits a character are out of reach for hexadecimal digits and rare among names.
  return entropy(run.substr(0, 256)) >= 4.25;
}

bool may_be_random(std::string_view value) {
  if (value.size() < 16 || value.size() > 16384 || is_uuid(value)) return false;
  if (value.starts_with('/') || value.starts_with("./") || value.starts_with("sha256:")) return false;
  const Kinds kinds(value);
  const std::size_t letters = kinds.upper + kinds.lower;
  if (kinds.digit < 2 || letters < 2) return false;
  std::size_t others = 0;
  for (const char c : value) {
    if (is_alnum(c)) continue;
    if (c != '-' && c != '_' && c != '+' && c != '/' && c != '=' && c != '.' && c != '~' && c != ':') return false;
    ++others;
  }
  return others * 6 <= value.size() && entropy(value.substr(0, 256)) >= 3.0;
}

}  // namespace hatch::masking
