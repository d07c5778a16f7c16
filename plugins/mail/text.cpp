#include "mail/text.hpp"

#include <openssl/evp.h>

#include <algorithm>

#include "hatch/json.hpp"

namespace mail {
namespace {

constexpr const char* masked = "******";

char lower_of(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string hex_of(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      out += '%', out += hex_of({&c, 1});
  }
  return out;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower_of);
  return out;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == text.npos ? std::string_view{} : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

bool same_ignoring_case(std::string_view a, std::string_view b) { return lower(a) == lower(b); }

bool is_printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

std::string base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

std::string from_base64(std::string_view text, bool& ok) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  ok = size >= 0 && text.size() % 4 == 0;
  if (!ok) return {};
  // EVP_DecodeBlock counts the padding as bytes.
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

std::string bounded(std::string_view text, std::size_t max) {
  if (text.size() <= max) return std::string(text);
  // Not in the middle of a character.
  while (max > 0 && (static_cast<unsigned char>(text[max]) & 0xC0) == 0x80) --max;
  return std::string(text.substr(0, max)) + " …";
}

void Masker::add_form(std::string form) {
  if (form.empty() || std::find(forms_.begin(), forms_.end(), form) != forms_.end()) return;
  forms_.push_back(std::move(form));
  std::stable_sort(forms_.begin(), forms_.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
}

void Masker::add(std::string_view secret) {
  if (secret.empty()) return;
  add_form(std::string(secret));
  add_form(percent_encoded(secret));
  add_form(hex_of(secret));
  add_form(base64(secret));
  // Within a longer text in base64 it begins at one of three places in a group of four; what its neighbours do not
  // touch is always the same.
  for (std::size_t before = 0; before < 3; ++before) {
    const std::string coded = base64(std::string(before, 'x') + std::string(secret));
    const std::size_t begin = before == 0 ? 0 : before + 1;
    const std::size_t whole = (before + secret.size()) * 8 / 6;
    if (whole > begin + 3) add_form(coded.substr(begin, whole - begin));
  }
}

std::string Masker::operator()(std::string_view text, std::size_t max) const {
  // Masking costs time with every byte; nobody reads the end of a huge line.
  std::string out(text.substr(0, 4 * max));
  for (const std::string& form : forms_)
    for (std::size_t at = 0; (at = out.find(form, at)) != out.npos; at += std::char_traits<char>::length(masked))
      out.replace(at, form.size(), masked);
  return bounded(hatch::printable(out), max);
}

}  // namespace mail
