// mask.hpp: keeps secrets out of what is stored, logged and sent.
//
// SPDX-License-Identifier: MIT
//
// Library: link hatch-shared beside the headers (`pkg-config --libs hatch-shared`).
//
// What is masked: values of names that say so (PASSWORD, API_KEY, *_DSN), passwords in URLs, Authorization and Cookie
// headers, shapes of known tokens (AWS, GitHub, Slack, JWT, …), private keys in PEM, password hashes, and words too
// random to be anything else. docs/masking.md has the rules, and what they do not catch.
//
// The host does this to everything that a hatch says, so a plugin needs it only where it knows more than the text
// shows: that a string is an environment variable, an argument list, a header. In a hatch:
//
//   const hatch::Mask mask = hatch::mask_of(run);   // with the operator's own rules
//   result.add("url", mask.text(url));
//
// Every function takes time in proportion to the text, and masking twice changes nothing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hatch/hatch.h"

namespace hatch {

class Run;

// What an operator adds to the built-in rules. All are globs: * stands for any text, ? for one character; upper and
// lower case count alike.
struct MaskRules {
  std::vector<std::string> keys;      // names whose value is secret: "*_DSN"
  std::vector<std::string> patterns;  // words that are secret: "acme_????????????????*"
  std::vector<std::string> allow;     // names and words that stay, whatever the other rules say
};

class Mask {
 public:
  static constexpr std::string_view stars = "******";

  Mask() = default;
  explicit Mask(MaskRules rules) : rules_(std::move(rules)) {}

  // Is the value of this name secret, whatever it looks like? "DB_PASSWORD", "spring.datasource.password", "--api-key";
  // not "MONKEY", "TOKENIZER_PATH", "token_count".
  bool secret_name(std::string_view name) const;

  // The value of a variable, a setting or an option of that name. Either all of it is masked, or what is secret in it.
  std::string value(std::string_view name, std::string_view value) const;

  // Text of any kind: a log line, a reply, a URL, a configuration file.
  std::string text(std::string_view text) const;

  // A command line: also knows "--password x", "-px" of a MySQL client, "curl -u user:x".
  std::vector<std::string> arguments(std::vector<std::string> arguments) const;

  // JSON text: members by their names, strings as text; {"name": "DB_PASSWORD", "value": …} is seen for what it is.
  // What is not JSON comes back as text() leaves it.
  std::string json(std::string_view json) const;

  const MaskRules& rules() const { return rules_; }

 private:
  friend class MaskScan;
  MaskRules rules_;
};

// The extension "mask/1": the operator's rules as JSON {"keys": […], "patterns": […], "allow": […]}.
struct MaskExtension {
  std::uint32_t size;
  hatch_str (*rules)(hatch_run* run);
};

// The mask of this run, with the operator's rules where the host tells them.
Mask mask_of(const Run& run);

// The rules of such a JSON object; what is not understood is left out.
MaskRules mask_rules_of(std::string_view json);

}  // namespace hatch
