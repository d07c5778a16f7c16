#include "mail/address.hpp"

#include <algorithm>

#include "hatch/json.hpp"
#include "mail/text.hpp"

namespace mail {
namespace {

constexpr std::size_t max_address = 254, max_local = 64;  // RFC 5321, 4.5.3.1 and its errata 1690

// atext of RFC 5322 and what RFC 6532 adds; a quoted local part is refused, since nobody has one for a test.
bool is_local_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) >= 0x80 ||
         std::string_view("!#$%&'*+-/=?^_`{|}~.").find(c) != std::string_view::npos;
}

bool is_domain_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool is_literal(std::string_view domain) {
  return domain.size() > 2 && domain.front() == '[' && domain.back() == ']' &&
         domain.find_first_not_of("0123456789abcdefABCDEFIPv:.", 1) == domain.size() - 1;
}

}  // namespace

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string why_no_address(std::string_view address) {
  if (address.empty()) return "is empty";
  if (address.size() > max_address) return "is longer than 254 bytes";
  if (hatch::printable(address) != address) return "holds characters that no address has";
  const std::size_t at = address.rfind('@');
  if (at == address.npos || at == 0 || at + 1 == address.size()) return "is not NAME@DOMAIN";
  const std::string_view local = address.substr(0, at), domain = address.substr(at + 1);
  if (local.size() > max_local) return "has more than 64 bytes before the @";
  if (!std::all_of(local.begin(), local.end(), is_local_char) || local.front() == '.' || local.back() == '.')
    return "holds characters before the @ that are not allowed there";
  if (is_literal(domain)) return {};
  if (!std::all_of(domain.begin(), domain.end(), is_domain_char) || domain.front() == '.' || domain.back() == '.' ||
      domain.find("..") != domain.npos)
    return "has no domain behind the @";
  return {};
}

std::string domain_of(std::string_view address) {
  const std::size_t at = address.rfind('@');
  return at == address.npos ? std::string{} : std::string(address.substr(at + 1));
}

bool is_allowed(std::string_view address, const std::vector<std::string>& patterns) {
  const std::size_t at = address.rfind('@');
  if (at == address.npos) return false;
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const std::size_t split = pattern.rfind('@');
    if (split == pattern.npos || !same_ignoring_case(domain_of(pattern), domain_of(address))) return false;
    const std::string_view local = std::string_view(pattern).substr(0, split);
    return local == "*" || local == address.substr(0, at);
  });
}

std::string bare_address(std::string_view text) {
  const std::size_t open = text.rfind('<'), close = text.rfind('>');
  if (open != text.npos && close != text.npos && close > open)
    return std::string(trimmed(text.substr(open + 1, close - open - 1)));
  return std::string(trimmed(text));
}

}  // namespace mail
