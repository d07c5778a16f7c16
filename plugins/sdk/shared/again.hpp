// Finding what comes again in a text.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace hatch::masking {

constexpr std::size_t long_text = 8192;  // where looking for it is worth it

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
