// Finding what comes again in a text; and masking it again.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace hatch::masking {

constexpr std::size_t long_text = 8192;  // where looking for it is worth it

// Masks until nothing changes, so that a masked text is one for whoever masks it next: stars may read differently than
// what was there, as when a name or a "://" has gone with a secret and a value now ends elsewhere. Each pass leaves less
// to mask; the bound is for a text that somebody wrote to take one for each of its words.
template <class Text, class Once>
auto mask_again(const Text& text, Once&& once) {
  constexpr int max_passes = 8;
  auto masked = once(text);
  if (masked == text) return masked;
  for (int pass = 1; pass < max_passes; ++pass) {
    auto again = once(masked);
    if (again == masked) break;
    masked = std::move(again);
  }
  return masked;
}

// Fast, and nothing else: who finds by it compares.
inline std::size_t hash_of(std::string_view text) {
  constexpr std::uint64_t factor = 0x9E3779B97F4A7C15;
  std::uint64_t hash = text.size();
  const auto mix = [&](std::uint64_t word) {
    hash = (hash ^ word) * factor;
    hash ^= hash >> 29;
  };
  for (; text.size() >= sizeof(std::uint64_t); text.remove_prefix(sizeof(std::uint64_t))) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    mix(word);
  }
  for (const char c : text) mix(static_cast<unsigned char>(c));
  return static_cast<std::size_t>(hash);
}

}  // namespace hatch::masking
