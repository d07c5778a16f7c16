// What known tokens look like, and what only chance looks like.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

namespace hatch::masking {

// A byte of [A-Za-z0-9_]: tokens begin where one follows something else.
bool is_word_byte(char c);
bool is_base64_digit(char c);  // [A-Za-z0-9+/]

// How many bytes at the begin of `text`, where a word begins behind the byte `before`, are a token of a known shape:
// "ghp_…", "eyJ….….…". 0: none.
std::size_t token_at(std::string_view text, char before);

// How many bytes at the begin of `text`, which begins with '$', are a password hash of crypt(5) or alike. 0: none.
std::size_t crypt_hash_at(std::string_view text);

// Where in `url`, which begins behind "://", a secret path begins: the address of a web hook is its password. 0: it does
// not.
std::size_t hook_path_in(std::string_view url);

// How many bytes at the begin of `text` belong to a word of base64, base64url or hexadecimal digits.
std::size_t run_at(std::string_view text);

// Is such a word too random to be a name, a path, a digest or a number? Hexadecimal digits never are: what git, builds
// and UUIDs show looks like that.
bool is_random(std::string_view run);

// A weaker question, asked where a name has raised the suspicion: 16 characters with digits among letters, hexadecimal
// or not, that are no path, no UUID and no date.
bool may_be_random(std::string_view value);

}  // namespace hatch::masking
