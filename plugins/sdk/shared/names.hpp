// What a name says about its value.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace hatch::masking {

enum class Says {
  nothing,
  maybe,       // "key", "auth": secret when the value looks like one
  token,       // secret, but "token" also counts and parses: numbers stay
  secret,      // secret
  everything,  // secret, with all that is below it: "credentials": {…}
};

// By the words of the name: "db_password", "dbPassword", "DB-PASSWORD" are the same. The last word decides what the
// value is: "password_file" names a file and "token_count" is a number.
Says says(std::string_view name);

// "Authorization", "Cookie": headers whose value ends with the line.
bool is_secret_header(std::string_view name);
// A header whose value begins with the name of a scheme, which may be shown.
bool has_scheme(std::string_view name);

// A value that is no secret although its name is one: empty, "true", "none", "${VARIABLE}", a path where the name means
// a file, …
bool is_harmless(Says says, std::string_view name, std::string_view value);

// Iterative, so that no pattern costs more than its length times that of the text.
bool glob(std::string_view pattern, std::string_view text);

}  // namespace hatch::masking
